// The known way: a privileged program that switches its own threads into namespaces, and keeps what it made there.
//
//	GOPATH=/usr/share/gocode GO111MODULE=off go build goway.go && ./goway NAMESPACE...
//
// Each line of its input is an order, each line of its output the seconds that it took:
//
//	HOW TCP UDP SCTP   make so many sockets of each, spread over the namespaces, at [::] from port 10000 on
//	serve              answer on all of them: what comes goes back
//	close              close them
//
// HOW is "goroutines": one for each socket, locked to its thread, enters the namespace and leaves it; "each": the same
// without goroutines, one after the other; or "once": each namespace is entered once, and all of its sockets made there.
//
// One goroutine waits on each socket, by Go's own poller; SCTP, which Go's net package does not know, is accepted by
// hand, so that it does not keep a thread for each listener.
package main

import (
	"bufio"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

const (
	firstPort = 10000
	sctp      = 132 // IPPROTO_SCTP
	backlog   = 128
)

type server interface {
	serve()
	Close() error
}

type tcpServer struct{ net.Listener }
type udpServer struct{ net.PacketConn }
type sctpServer struct{ *os.File }

func echo(conn io.ReadWriteCloser) {
	defer conn.Close()
	buffer := make([]byte, 2048)
	for {
		count, err := conn.Read(buffer)
		if err != nil || count == 0 {
			return
		}
		conn.Write(buffer[:count])
	}
}

func (s tcpServer) serve() {
	for {
		conn, err := s.Accept()
		if err != nil {
			return
		}
		go echo(conn)
	}
}

func (s udpServer) serve() {
	buffer := make([]byte, 2048)
	for {
		count, peer, err := s.ReadFrom(buffer)
		if err != nil {
			return
		}
		s.WriteTo(buffer[:count], peer)
	}
}

func (s sctpServer) serve() {
	raw, err := s.SyscallConn()
	for err == nil {
		var conn int
		var failed error
		err = raw.Read(func(fd uintptr) bool {
			conn, _, failed = syscall.Accept4(int(fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
			return failed != syscall.EAGAIN
		})
		if err == nil && failed == nil {
			go echo(os.NewFile(uintptr(conn), "sctp"))
		}
	}
}

func listenSCTP(port int) (server, error) {
	kind := syscall.SOCK_STREAM | syscall.SOCK_NONBLOCK | syscall.SOCK_CLOEXEC
	fd, err := syscall.Socket(syscall.AF_INET6, kind, sctp)
	if err != nil {
		return nil, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet6{Port: port}); err != nil {
		return nil, err
	}
	return sctpServer{os.NewFile(uintptr(fd), "sctp")}, syscall.Listen(fd, backlog)
}

func listen(kind, port int) (server, error) {
	address := fmt.Sprintf("[::]:%d", port)
	switch kind {
	case 0:
		listener, err := net.Listen("tcp6", address)
		return tcpServer{listener}, err
	case 1:
		conn, err := net.ListenPacket("udp6", address)
		return udpServer{conn}, err
	}
	return listenSCTP(port)
}

// Calls do in the namespace of this name.
func inside(name string, do func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := netns.GetFromName(name)
	if err != nil {
		return err
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return err
	}
	err = do()
	if back := netns.Set(home); back != nil {
		log.Fatal(back)
	}
	return err
}

type place struct{ kind, port int }

func open(names []string, counts [3]int, how string) (servers []server) {
	var all sync.WaitGroup
	var mutex sync.Mutex
	add := func(name string, places []place) {
		made := openInside(name, places)
		mutex.Lock()
		servers = append(servers, made...)
		mutex.Unlock()
	}
	for i, name := range names {
		places := placesIn(i, len(names), counts)
		if how == "once" {
			add(name, places)
			continue
		}
		for j := range places {
			if how == "each" {
				add(name, places[j:j+1])
				continue
			}
			all.Add(1)
			go func(name string, places []place) {
				defer all.Done()
				add(name, places)
			}(name, places[j:j+1])
		}
	}
	all.Wait()
	return servers
}

// What is to be made in namespace i of n.
func placesIn(i, n int, counts [3]int) (places []place) {
	for kind, count := range counts {
		for port := firstPort; port < firstPort+(count+n-1-i)/n; port++ {
			places = append(places, place{kind, port})
		}
	}
	return places
}

func openInside(name string, places []place) (servers []server) {
	err := inside(name, func() error {
		for _, one := range places {
			made, err := listen(one.kind, one.port)
			if err != nil {
				return err
			}
			servers = append(servers, made)
		}
		return nil
	})
	if err != nil {
		log.Fatalf("%s: %v", name, err)
	}
	return servers
}

func main() {
	var servers []server
	for orders := bufio.NewScanner(os.Stdin); orders.Scan(); {
		var counts [3]int
		start := time.Now()
		switch order := orders.Text(); order {
		case "serve":
			for _, made := range servers {
				go made.serve()
			}
		case "close":
			for _, made := range servers {
				made.Close()
			}
			servers = nil
		default:
			var how string
			if _, err := fmt.Sscan(order, &how, &counts[0], &counts[1], &counts[2]); err != nil {
				log.Fatalf("%q: %v", order, err)
			}
			servers = open(os.Args[1:], counts, how)
		}
		fmt.Println(time.Since(start).Seconds())
	}
}
