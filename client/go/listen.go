package nsbroker

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

// The kernel lowers it to net.core.somaxconn of the namespace, which is the backlog that package net takes.
const backlog = maxBacklog

// Listen listens on a TCP address in the namespace. The broker binds it, so ports below 1024 work if a grant lists them.
//
// Without a host, the listener takes IPv4 and IPv6, or only the family of "tcp4" and "tcp6".
//
//	listener, err := blue.Listen(ctx, "tcp", ":80")
//	...
//	err = http.Serve(listener, handler)
func (n Namespace) Listen(ctx context.Context, network, address string) (net.Listener, error) {
	file, err := n.bind(ctx, network, address, syscall.SOCK_STREAM)
	if err == nil {
		defer file.Close()
		var made net.Listener
		if made, err = net.FileListener(file); err == nil {
			return made, nil
		}
	}
	return nil, &net.OpError{Op: "listen", Net: network, Addr: endpoint{network, address}, Err: err}
}

// ListenPacket binds a UDP socket in the namespace. It is a [*net.UDPConn], whose WriteTo takes numeric addresses.
func (n Namespace) ListenPacket(ctx context.Context, network, address string) (net.PacketConn, error) {
	file, err := n.bind(ctx, network, address, syscall.SOCK_DGRAM)
	if err == nil {
		defer file.Close()
		var made net.PacketConn
		if made, err = net.FilePacketConn(file); err == nil {
			return made, nil
		}
	}
	return nil, &net.OpError{Op: "listen", Net: network, Addr: endpoint{network, address}, Err: err}
}

func (n Namespace) bind(ctx context.Context, network, address string, sotype int) (*os.File, error) {
	kind, err := parseNetwork(network)
	if err != nil {
		return nil, err
	}
	if kind.sotype != sotype {
		return nil, net.UnknownNetworkError(network)
	}
	found, port, err := n.resolve(ctx, kind, network, address)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		// As package net: the first IPv4 address, or else the first one.
		chosen := found[0]
		for _, addr := range found {
			if addr.Is4() {
				chosen = addr
				break
			}
		}
		return n.bindTo(ctx, kind, chosen, port)
	}
	if kind.family == syscall.AF_INET {
		return n.bindTo(ctx, kind, netip.IPv4Unspecified(), port)
	}
	file, err := n.bindTo(ctx, kind, netip.IPv6Unspecified(), port)
	hasNoIPv6 := errors.Is(err, syscall.EAFNOSUPPORT) || errors.Is(err, syscall.EADDRNOTAVAIL)
	if hasNoIPv6 && kind.family == syscall.AF_UNSPEC {
		return n.bindTo(ctx, kind, netip.IPv4Unspecified(), port)
	}
	return file, err
}

// bindTo opens a bound socket, which listens if it is a stream.
func (n Namespace) bindTo(ctx context.Context, kind ipKind, addr netip.Addr, port uint16) (*os.File, error) {
	v6Only := 0
	if kind.family == syscall.AF_INET6 {
		v6Only = 1
	}
	kind = kind.of(addr)
	place, err := n.address(ctx, kind, addr, port)
	if err != nil {
		return nil, err
	}
	spec := n.spec(kind)
	spec.Bind = place
	if kind.family == syscall.AF_INET6 {
		option := Option{Level: syscall.IPPROTO_IPV6, Name: syscall.IPV6_V6ONLY, Int: int64(v6Only)}
		spec.Options = append(spec.Options, option)
	}
	if kind.sotype == syscall.SOCK_STREAM {
		spec.Options = append(spec.Options, Option{Level: syscall.SOL_SOCKET, Name: syscall.SO_REUSEADDR, Int: 1})
		spec.Listen, spec.Backlog = true, backlog
	} else {
		spec.Options = append(spec.Options, Option{Level: syscall.SOL_SOCKET, Name: syscall.SO_BROADCAST, Int: 1})
	}
	fd, err := n.openAtAddress(ctx, spec)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "socket"), nil
}

// openAtAddress opens a bound socket. With Wait, it waits for the address, for example until it is known to be unique.
func (n Namespace) openAtAddress(ctx context.Context, spec Spec) (int, error) {
	until := time.Now().Add(n.Wait)
	for tries := 0; ; tries++ {
		fd, err := n.open(ctx, spec)
		if n.Wait == 0 || !errors.Is(err, syscall.EADDRNOTAVAIL) {
			return fd, err
		}
		if late := pause(ctx, until, tries); late != nil {
			return -1, contextError(ctx, err)
		}
	}
}
