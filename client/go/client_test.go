package nsbroker

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// A client and a broker that misbehaves. The sockets are those of the test's own namespace.

var tcp = Spec{Namespace: "blue", Family: syscall.AF_INET, Type: syscall.SOCK_STREAM}

// descriptors returns how many descriptors the process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	names, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(names)
}

// waitUntil waits for a condition. Descriptors of a peer close a moment after the client saw its end.
func waitUntil(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 20 s: ", what)
		}
	}
}

func openOne(t *testing.T, c *Client) {
	t.Helper()
	files, err := c.Open(context.Background(), []Spec{tcp})
	if err != nil {
		t.Fatal(err)
	}
	files[0].Close()
}

func TestSocketsArriveInOrderAndCloseOnExec(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	udp := Spec{Namespace: "blue", Family: syscall.AF_INET6, Type: syscall.SOCK_DGRAM}
	files, err := c.Open(context.Background(), []Spec{tcp, udp})
	if err != nil {
		t.Fatal(err)
	}
	for i, sotype := range []int{syscall.SOCK_STREAM, syscall.SOCK_DGRAM} {
		fd := int(files[i].Fd())
		if got := must(syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE)); got != sotype {
			t.Errorf("socket %d has the type %d", i, got)
		}
		flags, _, _ := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_GETFD, 0)
		if flags&syscall.FD_CLOEXEC == 0 {
			t.Errorf("socket %d is not close-on-exec", i)
		}
		files[i].Close()
	}
}

// Not even the connection and the channel are there in a program that os/exec starts.
func TestProgramsInheritNoDescriptor(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	files := must(c.Open(context.Background(), []Spec{tcp}))
	defer files[0].Close()
	command := exec.Command("ls", "-l", "/proc/self/fd")
	output := must(command.CombinedOutput())
	if strings.Contains(string(output), "socket:") {
		t.Errorf("inherited:\n%s", output)
	}
}

func TestConnectionIsUsedAgain(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	before := 0
	for i := 0; i < 20; i++ {
		openOne(t, c)
		if i == 0 {
			before = descriptors(t)
		}
	}
	if f.served.Load() != 1 {
		t.Errorf("%d connections", f.served.Load())
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestMoreSocketsThanAPacketHolds(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	specs := make([]Spec, 300)
	for i := range specs {
		specs[i] = tcp
	}
	files, err := c.Open(context.Background(), specs)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(specs) {
		t.Errorf("%d sockets", len(files))
	}
	for _, file := range files {
		file.Close()
	}
}

// A request names at most 16 containers, sends at most 16 descriptors, and has at most 65536 bytes.
func TestBatchesKeepToTheBounds(t *testing.T) {
	engines, long := make([]Spec, 20), make([]Spec, 253)
	for i := range engines {
		engines[i] = Spec{Namespace: fmt.Sprint("podman:", i)}
	}
	for i := range long {
		long[i] = Spec{Namespace: strings.Repeat("n", 1000)}
	}
	if n := sizeOfBatch(engines); n != 16 {
		t.Errorf("%d containers", n)
	}
	if n := sizeOfBatch(long); n < 60 || n > 64 {
		t.Errorf("%d long names", n)
	}
}

// In a batch, the index of an error is that of the caller's spec, and all sockets of earlier requests are closed.
func TestBatchIsOpenedAsAWhole(t *testing.T) {
	f := startFake(t, func(p *peer) {
		p.answer(p.receive())
		p.reply(&reply{id: p.receive().id, err: &Error{Code: CodeDenied, Message: "no grant", Index: 2}})
		p.receive()
	})
	c := &Client{Broker: f.path}
	specs := make([]Spec, 300)
	for i := range specs {
		specs[i] = tcp
	}
	before := descriptors(t)
	_, err := c.Open(context.Background(), specs)
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Index != 255 || refusal.Namespace != "blue" {
		t.Error(err)
	}
	c.Close()
	waitUntil(t, "descriptors are closed", func() bool { return descriptors(t) == before })
}

func TestRefusalIsTheErrorThatOneExpects(t *testing.T) {
	for code, want := range map[string]error{
		CodeDenied: os.ErrPermission, CodeNoSuchNamespace: os.ErrNotExist, CodeOSError: syscall.EADDRINUSE,
	} {
		code, want := code, want
		f := startFake(t, func(p *peer) {
			refusal := &Error{Code: code, Message: "said plainly", Index: 0}
			if code == CodeOSError {
				refusal.Errno = syscall.EADDRINUSE
			}
			for r := p.receive(); r != nil; r = p.receive() {
				p.reply(&reply{id: r.id, err: refusal})
			}
		})
		n := Namespace{Name: "blue", Broker: f.path}
		_, err := n.Dial("tcp", "10.0.0.1:80")
		var refusal *Error
		if !errors.Is(err, want) || !errors.As(err, &refusal) || refusal.Namespace != "blue" || refusal.Code != code {
			t.Errorf("%s: %v", code, err)
		}
		if !strings.Contains(err.Error(), `"blue"`) || !strings.Contains(err.Error(), "said plainly") {
			t.Error(err)
		}
		n.Dial("tcp", "10.0.0.1:80")
		if f.served.Load() != 1 {
			t.Errorf("%d connections: a refusal does not end one", f.served.Load())
		}
	}
}

// Whatever else than a right reply comes: it is refused, the connection is given up, and no descriptor is left.
func TestViolationsAreRefused(t *testing.T) {
	extra := func() int { return must(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)) }
	for name, misbehave := range map[string]func(p *peer, r *request, made *reply, fds []int){
		"another id": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id, fds...)
			made.id++
			p.reply(made)
		},
		"another id on the channel": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id+1, fds...)
			p.reply(made)
		},
		"no descriptors": func(p *peer, r *request, made *reply, fds []int) {
			p.reply(made)
		},
		"a descriptor too few": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id, fds[1:]...)
			p.reply(made)
		},
		"a descriptor too many": func(p *peer, r *request, made *reply, fds []int) {
			fd := extra()
			p.deliver(r.id, append([]int{fd}, fds...)...)
			syscall.Close(fd)
			p.reply(made)
		},
		"a socket too few": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id, fds[1:]...)
			made.sockets = made.sockets[1:]
			p.reply(made)
		},
		"no channel": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id, fds...)
			p.send(encodeReply(made))
		},
		"two descriptors in place of the channel": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id, fds...)
			fd := extra()
			p.send(encodeReply(made), p.clientEnd, fd)
			syscall.Close(fd)
		},
		"no channel but a file": func(p *peer, r *request, made *reply, fds []int) {
			file := must(os.Open("/dev/null"))
			p.send(encodeReply(made), int(file.Fd()))
			file.Close()
		},
		"a descriptor with an error": func(p *peer, r *request, made *reply, fds []int) {
			p.send(encodeReply(&reply{id: r.id, err: &Error{Code: CodeDenied, Index: -1}}), fds[0])
		},
		"a blob": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id, fds[0])
			p.reply(&reply{id: r.id, isBlob: true, blobBytes: 3})
		},
		"an empty map": func(p *peer, r *request, made *reply, fds []int) {
			p.send([]byte{0x80}, fds...)
		},
		"too long a packet": func(p *peer, r *request, made *reply, fds []int) {
			p.send(make([]byte, maxPacketBytes+10))
		},
		"an address of another family": func(p *peer, r *request, made *reply, fds []int) {
			p.deliver(r.id, fds...)
			made.sockets[0].address = AbstractAddress("name")
			p.reply(made)
		},
	} {
		misbehave := misbehave
		t.Run(name, func(t *testing.T) {
			before := descriptors(t)
			f := startFake(t, func(p *peer) {
				if p.number > 0 {
					honest(p)
					return
				}
				r := p.receive()
				made, fds := sockets(r)
				misbehave(p, r, made, fds)
				closeAll(fds)
				p.receive()
			})
			c := &Client{Broker: f.path}
			_, err := c.Open(context.Background(), []Spec{tcp, tcp})
			var refusal *Error
			if !errors.As(err, &refusal) || refusal.Code != CodeProtocol {
				t.Fatal(err)
			}
			openOne(t, c)
			if f.served.Load() != 2 {
				t.Errorf("%d connections: the first must not be used again", f.served.Load())
			}
			c.Close()
			f.stop()
			waitUntil(t, "descriptors are closed", func() bool { return descriptors(t) <= before })
			f.start(honest) // The cleanup stops it.
		})
	}
}

// Also a later reply must not bring a channel.
func TestSecondChannelIsRefused(t *testing.T) {
	f := startFake(t, func(p *peer) {
		p.answer(p.receive())
		r := p.receive()
		made, fds := sockets(r)
		p.deliver(r.id, fds...)
		p.send(encodeReply(made), fds[0])
		closeAll(fds)
		p.receive()
	})
	c := &Client{Broker: f.path}
	defer c.Close()
	openOne(t, c)
	_, err := c.Open(context.Background(), []Spec{tcp})
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeProtocol {
		t.Fatal(err)
	}
}

func TestSocketOfAnotherNamespaceIsClosed(t *testing.T) {
	for name, change := range map[string]func(made *reply){
		"its namespace": func(made *reply) { made.namespaces[0].cookie++ },
		"itself":        func(made *reply) { made.sockets[0].cookie++ },
	} {
		change := change
		f := startFake(t, func(p *peer) {
			for r := p.receive(); r != nil; r = p.receive() {
				made, fds := sockets(r)
				change(made)
				p.deliver(r.id, fds...)
				closeAll(fds)
				p.reply(made)
			}
		})
		c := &Client{Broker: f.path}
		defer c.Close()
		c.Open(context.Background(), []Spec{tcp}) // Opens the connection.
		before := descriptors(t)
		_, err := c.Open(context.Background(), []Spec{tcp})
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != CodeWrongNamespace || refusal.Namespace != "blue" {
			t.Errorf("%s: %v", name, err)
		}
		if after := descriptors(t); after > before {
			t.Errorf("%s: %d descriptors, %d before", name, after, before)
		}
	}
}

func TestCancelledRequestLeavesNothing(t *testing.T) {
	asked, cancelled := make(chan struct{}), make(chan struct{})
	f := startFake(t, func(p *peer) {
		if p.number > 0 {
			honest(p)
			return
		}
		r := p.receive()
		close(asked)
		<-cancelled
		p.answer(r) // Too late: nobody reads it.
		p.receive()
	})
	before := descriptors(t)
	c := &Client{Broker: f.path}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-asked
		cancel()
	}()
	if _, err := c.Open(ctx, []Spec{tcp}); err != context.Canceled {
		t.Fatal(err)
	}
	close(cancelled)
	openOne(t, c)
	if f.served.Load() != 2 {
		t.Errorf("%d connections: one with an unanswered request must not be used again", f.served.Load())
	}
	c.Close()
	waitUntil(t, "descriptors are closed", func() bool { return descriptors(t) <= before })
}

func TestSilentBrokerIsGivenUp(t *testing.T) {
	f := startFake(t, func(p *peer) {
		p.receive()
		p.receive()
	})
	c := &Client{Broker: f.path, Timeout: 30 * time.Millisecond}
	_, err := c.Open(context.Background(), []Spec{tcp})
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeUnavailable || !refusal.Timeout() {
		t.Error(err)
	}
	c.Timeout = 0
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := c.Open(ctx, []Spec{tcp}); err != context.DeadlineExceeded {
		t.Error(err)
	}
}

func TestRestartsGoUnnoticed(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	openOne(t, c)
	var done, answers atomic.Int64
	var group sync.WaitGroup
	for i := 0; i < 50; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for done.Load() == 0 {
				files, err := c.Open(context.Background(), []Spec{tcp})
				if err != nil {
					t.Error(err)
					return
				}
				answers.Add(1)
				files[0].Close()
			}
		}()
	}
	for i := 0; i < 10; i++ {
		seen := answers.Load()
		waitUntil(t, "it answers", func() bool { return answers.Load() > seen+20 || t.Failed() })
		f.stop()
		f.start(honest)
	}
	done.Store(1)
	group.Wait()
}

// A connection that was idle when the broker ended costs no try.
func TestIdleConnectionsMayAllBeOld(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	openOne(t, c)
	for len(c.idle) < 2*maxLosses {
		connection := must(dialBroker(f.path))
		c.idle = append(c.idle, connection)
	}
	f.stop()
	f.start(honest)
	openOne(t, c)
}

func TestLossesAreBounded(t *testing.T) {
	f := startFake(t, func(p *peer) { p.receive() })
	c := &Client{Broker: f.path}
	_, err := c.Open(context.Background(), []Spec{tcp})
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeUnavailable || f.served.Load() != maxLosses+1 {
		t.Error(f.served.Load(), err)
	}
}

// Also while other calls fill the pool: a connection that was idle is not counted, and is used for the first try alone.
func TestLossesAreBoundedBesideOtherCalls(t *testing.T) {
	f := startFake(t, func(p *peer) {
		for r := p.receive(); r != nil && r.specs[0].Proto == 0; r = p.receive() {
			p.answer(r)
		}
	})
	c := &Client{Broker: f.path}
	defer c.Close()
	var done atomic.Bool
	var group sync.WaitGroup
	for i := 0; i < 4; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for !done.Load() {
				files, err := c.Open(context.Background(), []Spec{tcp})
				if err != nil {
					t.Error(err)
					return
				}
				files[0].Close()
			}
		}()
	}
	fatal := tcp
	fatal.Proto = syscall.IPPROTO_TCP
	_, err := c.Open(context.Background(), []Spec{fatal})
	done.Store(true)
	group.Wait()
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeUnavailable || refusal.Timeout() {
		t.Error(err)
	}
}

// The context's deadline counts also while no broker listens.
func TestDeadlineWhileTheBrokerIsAway(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	openOne(t, c)
	f.stop()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if _, err := c.Open(ctx, []Spec{tcp}); err != context.DeadlineExceeded {
		t.Error(err)
	}
	f.start(honest)
}

// The address of a socket whose reply was lost is free a moment later.
func TestLostListenerIsWaitedFor(t *testing.T) {
	f := startFake(t, func(p *peer) {
		r := p.receive()
		if p.number == 0 {
			return
		}
		p.reply(&reply{id: r.id, err: &Error{Code: CodeOSError, Errno: syscall.EADDRINUSE, Index: 0}})
		honest(p)
	})
	c := &Client{Broker: f.path}
	defer c.Close()
	openOne(t, c)
}

// The broker has no room: its first packet has no id, and it closes the connection.
func TestRefusedConnectionIsOverloaded(t *testing.T) {
	f := startFake(t, func(p *peer) {
		p.reply(&reply{noID: true, err: &Error{Code: CodeOverloaded, Message: "too many", Index: -1}})
	})
	c := &Client{Broker: f.path}
	for i := 1; i < 20; i++ {
		_, err := c.Open(context.Background(), []Spec{tcp})
		var refusal *Error
		if !errors.As(err, &refusal) || refusal.Code != CodeOverloaded || len(c.idle) > 0 {
			t.Fatal(i, err)
		}
	}
}

// Only a broker that has answered before is waited for. That it is missing does not look like a missing namespace.
func TestBrokerThatNeverRanFailsAtOnce(t *testing.T) {
	c := &Client{Broker: t.TempDir() + "/s", Timeout: time.Hour}
	_, err := c.Open(context.Background(), []Spec{tcp})
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code != CodeUnavailable || errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestFullQueueIsWaitedFor(t *testing.T) {
	path := t.TempDir() + "/s"
	listener := must(syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0))
	defer syscall.Close(listener)
	if err := syscall.Bind(listener, &syscall.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	syscall.Listen(listener, 0)
	for full := false; !full; {
		connection, err := dialBroker(path)
		if err != nil {
			full = errors.Is(err, syscall.EAGAIN)
			continue
		}
		defer connection.close()
	}
	c := &Client{Broker: path, Timeout: 100 * time.Millisecond}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _, err := c.connection(ctx, time.Now().Add(50*time.Millisecond), false)
	if !errors.Is(err, syscall.EAGAIN) {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(10 * time.Millisecond)
		fd, _, _ := syscall.Accept(listener)
		syscall.Close(fd)
	}()
	connection, isNew, err := c.connection(ctx, time.Now().Add(20*time.Second), false)
	if err != nil || !isNew {
		t.Fatal(err)
	}
	connection.close()
}

// The broker knows a connection as the user who opened it.
func TestConnectionOfAnotherUserIsNotUsed(t *testing.T) {
	f := startFake(t, honest)
	c := &Client{Broker: f.path}
	defer c.Close()
	openOne(t, c)
	c.idle[0].uid++
	openOne(t, c)
	if f.served.Load() != 2 {
		t.Errorf("%d connections", f.served.Load())
	}
}

func TestPathIsOpenedByTheProgram(t *testing.T) {
	var sent atomic.Int64
	f := startFake(t, func(p *peer) {
		for r := p.receive(); r != nil; r = p.receive() {
			sent.Store(int64(r.sent[0])) // `receive` has compared it with the descriptors that came.
			p.answer(r)
		}
	})
	before := descriptors(t)
	c := &Client{Broker: f.path}
	spec := tcp
	spec.Namespace = "/proc/self/ns/net"
	files := must(c.Open(context.Background(), []Spec{spec}))
	files[0].Close()
	file := must(os.Open("/proc/self/ns/net"))
	spec.Namespace, spec.File = "", file
	files = must(c.Open(context.Background(), []Spec{spec}))
	files[0].Close()
	if sent.Load() != 0 || file.Close() != nil {
		t.Error("the descriptor was not sent, or closed")
	}
	spec.Namespace, spec.File = "/proc/0/ns/net", nil
	if _, err := c.Open(context.Background(), []Spec{spec}); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
	c.Close()
	waitUntil(t, "descriptors are closed", func() bool { return descriptors(t) <= before })
}

// memfd makes a blob, sealed or not.
func memfd(t *testing.T, data []byte, seals int) int {
	t.Helper()
	numbers := map[string]uintptr{"amd64": 319, "arm64": 279, "riscv64": 279, "386": 356, "arm": 385}
	number, ok := numbers[runtime.GOARCH]
	if !ok {
		t.Skip("no number of memfd_create for this architecture")
	}
	name := must(syscall.BytePtrFromString("blob"))
	const allowSealing, addSeals = 2, 1033
	fd, errno := memfdCreate(number, name, allowSealing)
	if errno != 0 {
		t.Fatal(errno)
	}
	must(syscall.Write(fd, data))
	syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), addSeals, uintptr(seals))
	return fd
}

func TestBlobMustBeSealed(t *testing.T) {
	blob := unhex(t, "82a66772616e747390aa6e616d6573706163657390")
	var seals, size atomic.Int64
	seals.Store(allSeals)
	size.Store(int64(len(blob)))
	f := startFake(t, func(p *peer) {
		for r := p.receive(); r != nil; r = p.receive() {
			fd := memfd(t, blob, int(seals.Load()))
			p.deliver(r.id, fd)
			syscall.Close(fd)
			p.reply(&reply{id: r.id, isBlob: true, blobBytes: size.Load()})
		}
	})
	c := &Client{Broker: f.path}
	defer c.Close()
	if listing, err := c.Namespaces(context.Background()); err != nil || len(listing.Namespaces) != 0 {
		t.Fatal(err)
	}
	before := descriptors(t)
	for _, bit := range []int64{1, 2, 4, 8} {
		seals.Store(allSeals &^ bit)
		if _, err := c.Namespaces(context.Background()); err == nil || !strings.Contains(err.Error(), "not sealed") {
			t.Errorf("without the seal %d: %v", bit, err)
		}
	}
	seals.Store(allSeals)
	size.Add(1)
	if _, err := c.Namespaces(context.Background()); err == nil || !strings.Contains(err.Error(), "in place of") {
		t.Error(err)
	}
	if after := descriptors(t); after > before {
		t.Errorf("%d descriptors, %d before", after, before)
	}
}

func TestOlderBrokerIsAskedWithoutTheAddition(t *testing.T) {
	f := startFake(t, func(p *peer) {
		for r := p.receive(); r != nil; r = p.receive() {
			if r.engines {
				p.reply(&reply{id: r.id, err: &Error{Code: CodeBadRequest, Message: "unknown key", Index: -1}})
				continue
			}
			blob := unhex(t, "82a66772616e747390aa6e616d6573706163657390")
			fd := memfd(t, blob, allSeals)
			p.deliver(r.id, fd)
			syscall.Close(fd)
			p.reply(&reply{id: r.id, isBlob: true, blobBytes: int64(len(blob))})
		}
	})
	c := &Client{Broker: f.path}
	defer c.Close()
	if _, err := c.Namespaces(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestDialAndListen(t *testing.T) {
	f := startFake(t, func(p *peer) {
		for r := p.receive(); r != nil; r = p.receive() {
			made, fds := sockets(r)
			if bind, ok := r.specs[0].Bind.(IPAddress); ok { // As a broker does.
				syscall.Bind(fds[0], &syscall.SockaddrInet4{Addr: bind.Addr.As4(), Port: int(bind.Port)})
				made.sockets[0].address = bind
			}
			if r.specs[0].Listen {
				syscall.Listen(fds[0], 8)
			}
			p.deliver(r.id, fds...)
			closeAll(fds)
			p.reply(made)
		}
	})
	n := Namespace{Name: "blue", Broker: f.path}
	ctx := context.Background()
	listener, err := n.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	conn, err := n.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted := must(listener.Accept())
	conn.Write([]byte("hello"))
	buffer := make([]byte, 10)
	if size, err := accepted.Read(buffer); string(buffer[:size]) != "hello" {
		t.Error(err)
	}
	conn.Close()
	accepted.Close()
	// Closed means closed: the port is free at once, and nobody listens.
	listener.Close()
	if _, err := n.Dial("tcp", listener.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Error(err)
	}
	packets, err := n.ListenPacket(ctx, "udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp := must(n.Dial("udp", packets.LocalAddr().String()))
	udp.Write([]byte("datagram"))
	size, from, err := packets.ReadFrom(buffer)
	if err != nil || size != 8 || from.String() != udp.LocalAddr().String() {
		t.Error(size, from, err)
	}
	packets.Close()
	udp.Close()
	for _, network := range []string{"unix", "ip4:1", "", "tcp7"} {
		var unknown net.UnknownNetworkError
		if _, err := n.Dial(network, "127.0.0.1:1"); !errors.As(err, &unknown) {
			t.Error(network, err)
		}
		if _, err := n.Listen(ctx, network, "127.0.0.1:1"); !errors.As(err, &unknown) {
			t.Error(network, err)
		}
	}
}

// A connect that gets no answer ends with its context, and leaves nothing.
func TestConnectIsCancelled(t *testing.T) {
	f := startFake(t, honest)
	n := Namespace{Name: "blue", Broker: f.path}
	// A queue that is full: the kernel drops further SYNs.
	listener := must(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0))
	defer syscall.Close(listener)
	syscall.Bind(listener, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	syscall.Listen(listener, 0)
	port := must(syscall.Getsockname(listener)).(*syscall.SockaddrInet4).Port
	address := fmt.Sprint("127.0.0.1:", port)
	for full := false; !full; {
		ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
		before := descriptors(t)
		conn, err := n.DialContext(ctx, "tcp", address)
		cancel()
		if err == nil {
			defer conn.Close()
			continue
		}
		full = true
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if after := descriptors(t); after > before {
			t.Errorf("%d descriptors, %d before", after, before)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		time.Sleep(20 * time.Millisecond)
		cancel()
	}()
	if _, err := n.DialContext(ctx, "tcp", address); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestFamiliesRace(t *testing.T) {
	f := startFake(t, honest)
	n := Namespace{Name: "blue", Broker: f.path}
	listener := must(net.Listen("tcp4", "127.0.0.1:0"))
	defer listener.Close()
	port := listener.Addr().(*net.TCPAddr).AddrPort().Port()
	// Nobody listens on the first family: the second is tried at once.
	found := []netip.Addr{netip.MustParseAddr("::1"), netip.MustParseAddr("127.0.0.1")}
	first, second := byFamily(found)
	conn, err := n.dialBoth(context.Background(), ipKind{sotype: syscall.SOCK_STREAM}, first, second, port)
	if err != nil || conn.RemoteAddr().String() != listener.Addr().String() {
		t.Fatal(err)
	}
	conn.Close()
	listener.Close()
	_, err = n.dialBoth(context.Background(), ipKind{sotype: syscall.SOCK_STREAM}, first, second, port)
	if err == nil {
		t.Error("connected to a closed port")
	}
}
