package nsbroker

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"
)

const (
	// Time after which the second family is tried as well. Source: RFC 8305, and package net.
	fallbackDelay = 300 * time.Millisecond
	// The least time for an address while others are left. Source: package net.
	leastTime = 2 * time.Second
	keepAlive = 15 * time.Second
)

// Dial is [Namespace.DialContext] without a context.
func (n Namespace) Dial(network, address string) (net.Conn, error) {
	return n.DialContext(context.Background(), network, address)
}

// DialContext connects to an address in the namespace. It is the DialContext of [net/http.Transport], and of many other
// packages.
//
// A host name is looked up in the namespace. If it has addresses of both families, the second family is tried after
// 300 ms, or as soon as the first has failed. An empty host is the loopback address.
func (n Namespace) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	made, err := n.dial(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: endpoint{network, address}, Err: err}
	}
	return made, nil
}

func (n Namespace) dial(ctx context.Context, network, address string) (net.Conn, error) {
	kind, err := parseNetwork(network)
	if err != nil {
		return nil, err
	}
	found, port, err := n.resolve(ctx, kind, network, address)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		found = []netip.Addr{netip.AddrFrom4([4]byte{127, 0, 0, 1})}
		if kind.family == syscall.AF_INET6 {
			found[0] = netip.MustParseAddr("::1")
		}
	}
	first, second := byFamily(found)
	if len(second) == 0 || kind.sotype == syscall.SOCK_DGRAM {
		return n.dialEach(ctx, kind, found, port)
	}
	return n.dialBoth(ctx, kind, first, second, port)
}

// byFamily separates the addresses of the first one's family from the others.
func byFamily(found []netip.Addr) (first, second []netip.Addr) {
	for _, addr := range found {
		if familyOf(addr) == familyOf(found[0]) {
			first = append(first, addr)
		} else {
			second = append(second, addr)
		}
	}
	return first, second
}

// dialEach tries one address after the other. It returns the first error, as package net does.
func (n Namespace) dialEach(ctx context.Context, kind ipKind, found []netip.Addr, port uint16) (net.Conn, error) {
	var first error
	for i, addr := range found {
		made, err := n.dialWithin(ctx, kind, addr, port, len(found)-i)
		if err == nil {
			return made, nil
		}
		if first == nil {
			first = err
		}
		if ended := ctx.Err(); ended != nil {
			return nil, ended
		}
	}
	return nil, first
}

// dialWithin gives an address its part of the time that is left for `left` addresses.
func (n Namespace) dialWithin(ctx context.Context, kind ipKind, addr netip.Addr, port uint16, left int) (net.Conn, error) {
	if end, ok := ctx.Deadline(); ok && left > 1 {
		part := time.Until(end) / time.Duration(left)
		if part < leastTime {
			part = leastTime
		}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, part)
		defer cancel()
	}
	return n.dialOne(ctx, kind.of(addr), addr, port)
}

// dialBoth races the two families. The loser is cancelled, and closed if it connected nevertheless.
func (n Namespace) dialBoth(ctx context.Context, kind ipKind, first, second []netip.Addr, port uint16) (net.Conn, error) {
	type result struct {
		conn     net.Conn
		err      error
		isSecond bool
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	results := make(chan result) // Not buffered: a result that nobody takes is closed below.
	over := make(chan struct{})
	defer close(over)
	race := func(found []netip.Addr, isSecond bool) {
		conn, err := n.dialEach(ctx, kind, found, port)
		select {
		case results <- result{conn, err, isSecond}:
		case <-over:
			if conn != nil {
				conn.Close()
			}
		}
	}
	go race(first, false)
	timer := time.NewTimer(fallbackDelay)
	defer timer.Stop()
	var firstErr, secondErr error
	started := false
	for firstErr == nil || secondErr == nil {
		select {
		case <-timer.C:
			if !started {
				started = true
				go race(second, true)
			}
		case done := <-results:
			switch {
			case done.err == nil:
				return done.conn, nil
			case done.isSecond:
				secondErr = done.err
			default:
				firstErr = done.err
				if !started {
					started = true
					go race(second, true)
				}
			}
		}
	}
	return nil, firstErr
}

func (n Namespace) dialOne(ctx context.Context, kind ipKind, addr netip.Addr, port uint16) (net.Conn, error) {
	place, err := n.address(ctx, kind, addr, port)
	if err != nil {
		return nil, err
	}
	fd, err := n.open(ctx, n.spec(kind))
	if err != nil {
		return nil, err
	}
	made, err := connect(ctx, fd, place)
	if err != nil {
		return nil, err
	}
	if stream, ok := made.(*net.TCPConn); ok {
		stream.SetKeepAlive(true)
		stream.SetKeepAlivePeriod(keepAlive)
	}
	return made, nil
}

// connect connects a non-blocking socket, and owns its descriptor from the start.
func connect(ctx context.Context, fd int, place IPAddress) (net.Conn, error) {
	begun := os.NewSyscallError("connect", begin(fd, place))
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	if begun != nil {
		return nil, begun
	}
	if err := awaitConnection(ctx, file); err != nil {
		return nil, contextError(ctx, err)
	}
	return net.FileConn(file) // A copy of the descriptor, registered with the poller.
}

// begin calls connect(2), and returns nil if it goes on in the background.
func begin(fd int, place IPAddress) error {
	var address syscall.Sockaddr
	if place.Addr.Is4() {
		address = &syscall.SockaddrInet4{Port: int(place.Port), Addr: place.Addr.As4()}
	} else {
		address = &syscall.SockaddrInet6{Port: int(place.Port), Addr: place.Addr.As16(), ZoneId: place.Scope}
	}
	switch err := syscall.Connect(fd, address); err {
	case syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR, syscall.EISCONN:
		return nil
	default:
		return err
	}
}

func awaitConnection(ctx context.Context, file *os.File) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	stop := watch(ctx, file.SetWriteDeadline)
	defer stop()
	var failure error
	err = raw.Write(func(fd uintptr) bool {
		var done bool
		done, failure = isConnected(int(fd))
		return done
	})
	if err != nil {
		return err
	}
	return os.NewSyscallError("connect", failure)
}

func isConnected(fd int) (bool, error) {
	number, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_ERROR)
	if err != nil {
		return true, err
	}
	switch errno := syscall.Errno(number); errno {
	case 0:
		// The poller can wake up before the connection is there.
		_, err := syscall.Getpeername(fd)
		return err == nil, nil
	case syscall.EINPROGRESS, syscall.EALREADY, syscall.EINTR:
		return false, nil
	case syscall.EISCONN:
		return true, nil
	default:
		return true, errno
	}
}
