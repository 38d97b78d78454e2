package nsbroker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// A Namespace makes connections and listeners in a network namespace. Only Name or File is required. Methods can be
// called from any number of goroutines, and a Namespace may be copied.
//
//	blue := nsbroker.Namespace{Name: "blue"}
//	conn, err := blue.Dial("tcp", "www.example.org:80") // The name is looked up in blue, too.
//
// The networks are "tcp", "tcp4", "tcp6", "udp", "udp4" and "udp6". Connections and listeners are those of package net,
// such as [*net.TCPConn]. Errors are a [*net.OpError], as those of package net, around an [*Error] of the broker.
type Namespace struct {
	// Name is an entry of /run/netns, "@host", or a container such as "podman:web". A path with a slash, such as
	// /proc/4711/ns/net, is opened with the rights of the program.
	Name string
	// File is an open network namespace, used instead of Name. It stays yours.
	File *os.File

	// Broker, Wait and Timeout are as in [Client]. With Wait, a listener also waits for its address.
	Broker        string
	Wait, Timeout time.Duration

	// Mark is the SO_MARK of each socket from birth, if it is not 0. A grant must list it.
	Mark uint32
	// Options are further options of each socket from birth, which the broker sets before it binds.
	Options []Option
}

// String returns the name, or that of the file.
func (n Namespace) String() string {
	if n.File != nil {
		return n.File.Name()
	}
	return n.Name
}

var (
	clientsLock sync.Mutex
	clients     = map[string]*Client{}
)

// client returns the one client of all namespaces with the same broker.
func (n Namespace) client() *Client {
	path := (&Client{Broker: n.Broker}).path()
	clientsLock.Lock()
	defer clientsLock.Unlock()
	made := clients[path]
	if made == nil {
		made = &Client{Broker: path}
		clients[path] = made
	}
	return made
}

// spec returns a socket of this namespace with its options.
func (n Namespace) spec(kind ipKind) Spec {
	made := Spec{Namespace: n.Name, File: n.File, Family: kind.family, Type: kind.sotype | syscall.SOCK_NONBLOCK}
	if n.Mark != 0 {
		made.Options = append(made.Options, Option{Level: syscall.SOL_SOCKET, Name: soMark, Int: int64(n.Mark)})
	}
	made.Options = append(made.Options, n.Options...)
	return made
}

// open opens a non-blocking socket. The caller owns the descriptor.
func (n Namespace) open(ctx context.Context, spec Spec) (int, error) {
	fds, err := n.client().open(ctx, []Spec{spec}, n.Wait, n.Timeout)
	if err != nil {
		return -1, err
	}
	return fds[0], nil
}

// ipKind is what a network such as "tcp6" asks for.
type ipKind struct {
	family int // AF_UNSPEC: any.
	sotype int
}

func parseNetwork(network string) (ipKind, error) {
	var made ipKind
	if len(network) < 3 {
		return made, net.UnknownNetworkError(network)
	}
	switch network[:3] {
	case "tcp":
		made.sotype = syscall.SOCK_STREAM
	case "udp":
		made.sotype = syscall.SOCK_DGRAM
	default:
		return made, net.UnknownNetworkError(network)
	}
	switch network[3:] {
	case "":
	case "4":
		made.family = syscall.AF_INET
	case "6":
		made.family = syscall.AF_INET6
	default:
		return made, net.UnknownNetworkError(network)
	}
	return made, nil
}

func (k ipKind) allows(addr netip.Addr) bool {
	return k.family == syscall.AF_UNSPEC || k.family == familyOf(addr)
}

// of returns the kind with the family of an address.
func (k ipKind) of(addr netip.Addr) ipKind { return ipKind{familyOf(addr), k.sotype} }

func familyOf(addr netip.Addr) int {
	if addr.Is4() {
		return syscall.AF_INET
	}
	return syscall.AF_INET6
}

// endpoint is an address as the caller wrote it, for errors.
type endpoint struct{ network, address string }

func (e endpoint) Network() string { return e.network }
func (e endpoint) String() string  { return e.address }

// resolve turns the address of a network into numeric ones. An empty host has no address.
func (n Namespace) resolve(ctx context.Context, kind ipKind, network, address string) ([]netip.Addr, uint16, error) {
	host, service, err := net.SplitHostPort(address)
	if err != nil {
		return nil, 0, err
	}
	port, err := n.lookupPort(ctx, network[:3], service)
	if err != nil || host == "" {
		return nil, port, err
	}
	found, err := n.LookupNetIP(ctx, "ip"+network[3:], host)
	return found, port, err
}

func (n Namespace) lookupPort(ctx context.Context, network, service string) (uint16, error) {
	if service == "" {
		return 0, nil
	}
	number, err := strconv.Atoi(service)
	if err == nil && number >= 0 && number <= 65535 {
		return uint16(number), nil
	}
	if err == nil {
		return 0, &net.AddrError{Err: "invalid port", Addr: service}
	}
	files, err := n.resolverFiles(ctx)
	if err != nil {
		return 0, err
	}
	if port, ok := files.services[service+"/"+network]; ok {
		return port, nil
	}
	// A namespace without its own services has those of the system.
	number, err = net.DefaultResolver.LookupPort(ctx, network, service)
	return uint16(number), err
}

// address returns the wire's form of an address. A socket of the namespace finds the index of a zone.
func (n Namespace) address(ctx context.Context, kind ipKind, addr netip.Addr, port uint16) (IPAddress, error) {
	made := IPAddress{Addr: addr.WithZone(""), Port: port}
	if addr.Zone() == "" {
		return made, nil
	}
	if index, err := strconv.ParseUint(addr.Zone(), 10, 32); err == nil {
		made.Scope = uint32(index)
		return made, nil
	}
	fd, err := n.open(ctx, n.spec(kind))
	if err != nil {
		return made, err
	}
	defer syscall.Close(fd)
	if made.Scope, err = interfaceIndex(fd, addr.Zone()); err != nil {
		return made, fmt.Errorf("the interface %q of the namespace: %w", addr.Zone(), err)
	}
	return made, nil
}
