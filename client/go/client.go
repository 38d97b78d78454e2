package nsbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// DefaultBroker is the broker's socket if neither the field Broker nor $NSBROKER_SOCKET names another one.
	DefaultBroker = "/run/nsbroker/nsbroker.sock"
	// DefaultTimeout is the time that a call waits for the broker if the field Timeout is 0.
	DefaultTimeout = 5 * time.Second
)

const (
	// Requests of one client at a time. The broker serves one after the other, so more would only wait there.
	maxConnections = 8
	// Connections that end one after the other before a call gives up, so that a request that ends the broker ends.
	maxLosses = 6
	// The broker may need a moment to start again, and the kernel a moment to free an address.
	firstPause, longestPause = 2 * time.Millisecond, 50 * time.Millisecond
	addressPause             = time.Second
)

// A Client asks one broker for sockets and answers. Its zero value is ready to use. Methods can be called from any
// number of goroutines. A Client must not be copied after its first use.
//
//	var client nsbroker.Client
//	files, err := client.Open(ctx, []nsbroker.Spec{
//		{Namespace: "blue", Family: syscall.AF_INET, Type: syscall.SOCK_STREAM},
//		{Namespace: "green", Family: syscall.AF_INET, Type: syscall.SOCK_DGRAM},
//	})
type Client struct {
	// Broker is the path of the broker's socket. Default: $NSBROKER_SOCKET, then DefaultBroker.
	Broker string
	// Wait is the time to wait for namespaces that do not exist yet, at most 60 seconds.
	Wait time.Duration
	// Timeout is the time to wait for the broker, beside Wait. Default: DefaultTimeout.
	Timeout time.Duration

	once  sync.Once
	slots chan struct{}

	mu      sync.Mutex
	idle    []*conn
	reached bool // The broker has answered before. So if it does not listen, it is about to come back.
	files   map[string]filesOfName
}

// Close closes the idle connections. The client can still be used.
func (c *Client) Close() error {
	c.mu.Lock()
	idle := c.idle
	c.idle = nil
	c.mu.Unlock()
	for _, connection := range idle {
		connection.close()
	}
	return nil
}

// Open opens sockets, all or none, in the order of the specs. It makes one round trip for each 253. The files are
// yours, and their descriptors are blocking unless the type has SOCK_NONBLOCK. [net.FileConn], [net.FileListener] and
// [net.FilePacketConn] make the types of package net of them.
func (c *Client) Open(ctx context.Context, specs []Spec) ([]*os.File, error) {
	fds, err := c.open(ctx, specs, c.Wait, c.Timeout)
	if err != nil {
		return nil, err
	}
	files := make([]*os.File, len(fds))
	for i, fd := range fds {
		files[i] = os.NewFile(uintptr(fd), "socket in "+specs[i].Namespace)
	}
	return files, nil
}

// Namespaces lists the namespaces that the program may use, and for what.
func (c *Client) Namespaces(ctx context.Context) (*Listing, error) {
	ask := func(engines bool) ([]byte, error) {
		encode := func(id uint64) []byte { return encodeNamespaces(id, engines) }
		return c.askBlob(ctx, &question{encode: encode}, c.Timeout)
	}
	blob, err := ask(true)
	var refusal *Error
	if errors.As(err, &refusal) && refusal.Code == CodeBadRequest {
		blob, err = ask(false) // A broker of the previous release asks no engines.
	}
	if err != nil {
		return nil, err
	}
	listing, err := decodeListing(blob)
	if err != nil {
		return nil, violation("the list of namespaces", err)
	}
	return listing, nil
}

// Explain asks whether the policy allows a socket, and a connection from it if connect is not nil. No socket is made.
func (c *Client) Explain(ctx context.Context, spec Spec, connect Address) (*Explanation, error) {
	if err := checkExplain(&spec, connect); err != nil {
		return nil, badSpec(err, 0)
	}
	batch, err := newBatch([]Spec{spec})
	if err != nil {
		return nil, err
	}
	defer batch.close()
	encode := func(id uint64) []byte { return encodeExplain(id, &spec, batch.sent[0], connect) }
	blob, err := c.askBlob(ctx, &question{encode: encode, sent: batch.fds}, c.Timeout)
	if err != nil {
		return nil, withNamespace(err, []Spec{spec})
	}
	explanation, err := decodeExplanation(blob)
	if err != nil {
		return nil, violation("the explanation", err)
	}
	return explanation, nil
}

func checkExplain(spec *Spec, connect Address) error {
	if connect != nil {
		if _, ok := connect.(IPAddress); !ok {
			return fmt.Errorf("connect to %v, which is no IPAddress", connect)
		}
		if err := connect.check(spec.Family); err != nil {
			return err
		}
	}
	return spec.check()
}

// ResolverFiles asks for the files by which names are looked up in a namespace.
func (c *Client) ResolverFiles(ctx context.Context, namespace string) (*ResolverFiles, error) {
	return c.resolverFiles(ctx, Spec{Namespace: namespace}, c.Timeout)
}

func (c *Client) resolverFiles(ctx context.Context, place Spec, timeout time.Duration) (*ResolverFiles, error) {
	batch, err := newBatch([]Spec{place})
	if err != nil {
		return nil, err
	}
	defer batch.close()
	encode := func(id uint64) []byte { return encodeResolver(id, place.Namespace, batch.sent[0]) }
	blob, err := c.askBlob(ctx, &question{encode: encode, sent: batch.fds}, timeout)
	if err != nil {
		return nil, withNamespace(err, []Spec{place})
	}
	files, err := decodeResolverFiles(blob)
	if err != nil {
		return nil, violation("the files of the resolver", err)
	}
	return files, nil
}

// open opens sockets, all or none. The caller owns the descriptors.
func (c *Client) open(ctx context.Context, specs []Spec, wait, timeout time.Duration) ([]int, error) {
	if wait < 0 || wait > maxWait {
		return nil, badSpec(fmt.Errorf("Wait is %v, not 0 to %v", wait, maxWait), -1)
	}
	for i := range specs {
		if err := specs[i].check(); err != nil {
			return nil, badSpec(err, i)
		}
	}
	waitUntil := time.Now().Add(wait)
	fds := make([]int, 0, len(specs))
	for done := 0; done < len(specs); {
		n := sizeOfBatch(specs[done:])
		more, err := c.openBatch(ctx, specs[done:done+n], waitUntil, timeout)
		if err != nil {
			closeAll(fds)
			var refusal *Error
			if errors.As(err, &refusal) && refusal.Index >= 0 {
				refusal.Index += done
			}
			return nil, err
		}
		fds = append(fds, more...)
		done += n
	}
	return fds, nil
}

// sizeOfBatch returns how many specs fit into one request.
func sizeOfBatch(specs []Spec) int {
	size, sent, engines := 64, 0, map[string]bool{}
	for i := range specs {
		size += len(specs[i].append(nil, -1))
		if specs[i].isSent() {
			sent++
		} else if strings.Contains(specs[i].Namespace, ":") {
			engines[specs[i].Namespace] = true
		}
		full := i == maxSockets || size > maxPacketBytes || sent > maxSentNamespaces || len(engines) > maxSentNamespaces
		if full && i > 0 {
			return i
		}
	}
	return len(specs)
}

func (c *Client) openBatch(ctx context.Context, specs []Spec, waitUntil time.Time, timeout time.Duration) ([]int, error) {
	batch, err := newBatch(specs)
	if err != nil {
		return nil, err
	}
	defer batch.close()
	q := &question{sent: batch.fds, families: make([]int, len(specs))}
	q.encode = func(id uint64) []byte { return encodeOpen(id, specs, batch.sent, timeUntil(waitUntil)) }
	for i := range specs {
		q.families[i] = specs[i].Family
	}
	answer, fds, err := c.ask(ctx, q, timeUntil(waitUntil), timeout)
	if err != nil {
		return nil, withNamespace(err, specs)
	}
	for i, fd := range fds {
		socket := answer.sockets[i]
		if err := proveSocket(fd, socket, answer.namespaces[socket.ns]); err != nil {
			closeAll(fds)
			return nil, withNamespace(err, specs[i:i+1])
		}
	}
	return fds, nil
}

// timeUntil returns the time until then in whole milliseconds, at least 0.
func timeUntil(then time.Time) time.Duration {
	left := time.Until(then).Round(time.Millisecond)
	if left < 0 {
		return 0
	}
	return left
}

// A batch has the descriptors of namespaces that go with a request.
type batch struct {
	fds   []int
	sent  []int // For each spec the index in fds, or -1.
	own   []int // Opened by the batch.
	files []*os.File
}

func (s *Spec) isSent() bool { return s.File != nil || strings.Contains(s.Namespace, "/") }

func newBatch(specs []Spec) (*batch, error) {
	made := &batch{sent: make([]int, len(specs))}
	for i := range specs {
		made.sent[i] = -1
		if !specs[i].isSent() {
			continue
		}
		fd, err := made.descriptor(&specs[i])
		if err != nil {
			made.close()
			return nil, err
		}
		made.sent[i] = len(made.fds)
		made.fds = append(made.fds, fd)
	}
	return made, nil
}

func (b *batch) descriptor(spec *Spec) (fd int, err error) {
	if spec.File != nil {
		raw, err := spec.File.SyscallConn()
		if err != nil {
			return -1, err
		}
		b.files = append(b.files, spec.File)
		return fd, raw.Control(func(number uintptr) { fd = int(number) })
	}
	// O_NONBLOCK: a path can lead to a FIFO.
	fd, err = syscall.Open(spec.Namespace, syscall.O_RDONLY|syscall.O_CLOEXEC|syscall.O_NONBLOCK, 0)
	switch err {
	case nil:
		b.own = append(b.own, fd)
		return fd, nil
	case syscall.ENOENT, syscall.ENOTDIR, syscall.ESRCH:
		return -1, &Error{Code: CodeNoSuchNamespace, Message: "open", Namespace: spec.Namespace, Index: -1, Err: err}
	case syscall.EACCES, syscall.EPERM:
		return -1, &Error{Code: CodeDenied, Message: "open", Namespace: spec.Namespace, Index: -1, Err: err}
	}
	return -1, &os.PathError{Op: "open", Path: spec.Namespace, Err: err}
}

func (b *batch) close() {
	closeAll(b.own)
	runtime.KeepAlive(b.files)
}

// badSpec is the error for a request that the protocol can't express.
func badSpec(err error, index int) error {
	return &Error{Code: CodeBadRequest, Message: err.Error(), Index: index}
}

// withNamespace notes the namespace in an error that is about one.
func withNamespace(err error, specs []Spec) error {
	var refusal *Error
	if !errors.As(err, &refusal) || refusal.Code == CodeUnavailable || refusal.Code == CodeProtocol {
		return err
	}
	switch {
	case refusal.Index >= 0 && refusal.Index < len(specs):
		refusal.Namespace = specs[refusal.Index].Namespace
	case len(specs) == 1:
		refusal.Namespace = specs[0].Namespace
	}
	return err
}

// askBlob asks a question whose answer is a blob.
func (c *Client) askBlob(ctx context.Context, q *question, timeout time.Duration) ([]byte, error) {
	answer, fds, err := c.ask(ctx, q, 0, timeout)
	if err != nil {
		return nil, err
	}
	defer closeAll(fds)
	blob, err := readBlob(fds[0], answer.blobBytes)
	if err != nil {
		return nil, violation("an answer", err)
	}
	return blob, nil
}

// ask asks a question, again if the broker was restarted. The caller owns the descriptors. An error reply is an error.
func (c *Client) ask(ctx context.Context, q *question, wait, timeout time.Duration) (*reply, []int, error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if timeout <= 0 {
		timeout = DefaultTimeout
	}
	deadline, byContext := time.Now().Add(wait+timeout), false
	if end, ok := ctx.Deadline(); ok && end.Before(deadline) {
		deadline, byContext = end, true
	}
	if wait == 0 { // A request that waits for its namespace must not hold up others.
		if err := c.takeSlot(ctx, deadline); err != nil {
			return nil, nil, c.late(err, byContext, timeout)
		}
		defer func() { <-c.slots }()
	}
	answer, fds, err := c.askUntil(ctx, deadline, q)
	if err != nil {
		return nil, nil, c.late(err, byContext, timeout)
	}
	return answer, fds, nil
}

// late gives an error of time its name.
func (c *Client) late(err error, byContext bool, timeout time.Duration) error {
	switch {
	case !isLate(err):
		return err
	case byContext:
		return context.DeadlineExceeded
	}
	return unavailable(fmt.Sprintf("the broker at %s did not answer within %v", c.path(), timeout), os.ErrDeadlineExceeded)
}

func (c *Client) takeSlot(ctx context.Context, deadline time.Time) error {
	c.once.Do(func() { c.slots = make(chan struct{}, maxConnections) })
	select {
	case c.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case c.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return os.ErrDeadlineExceeded
	}
}

func (c *Client) askUntil(ctx context.Context, deadline time.Time, q *question) (*reply, []int, error) {
	losses, onlyNew := 0, false
	var lostAt time.Time
	for {
		connection, isNew, err := c.connection(ctx, deadline, onlyNew)
		if err != nil {
			return nil, nil, err
		}
		answer, fds, err := connection.exchange(ctx, deadline, q)
		// After a loss, only a new connection: others may be filling the pool, and its connections are not counted.
		if onlyNew = err != nil; err == nil {
			c.keep(connection, answer)
			if answer.err == nil {
				return answer, fds, nil
			}
			// The sockets of a lost reply keep their address until the kernel has closed them.
			if answer.err.Errno != syscall.EADDRINUSE || lostAt.IsZero() || time.Since(lostAt) > addressPause {
				return nil, nil, answer.err
			}
		} else {
			connection.close()
			if err != errLost {
				return nil, nil, failure(ctx, err)
			}
			lostAt = time.Now()
			if !isNew {
				c.Close() // The other idle connections are of the same broker that ended.
				continue
			}
			if losses++; losses > maxLosses {
				return nil, nil, unavailable(fmt.Sprintf("%d connections ended before an answer", losses), nil)
			}
		}
		if err := pause(ctx, deadline, losses); err != nil {
			return nil, nil, err
		}
	}
}

// failure gives an error of the connection itself, such as a lack of memory, its place among the others.
func failure(ctx context.Context, err error) error {
	var known *Error
	if errors.As(err, &known) || isLate(err) || ctx.Err() != nil {
		return err
	}
	return unavailable("can't ask the broker", err)
}

// connection takes an idle connection, or opens one.
func (c *Client) connection(ctx context.Context, deadline time.Time, onlyNew bool) (made *conn, isNew bool, err error) {
	for made = c.takeIdle(); made != nil; made = c.takeIdle() {
		if made.isOurs() && !onlyNew {
			return made, false, nil
		}
		made.close()
	}
	for tries := 0; ; tries++ {
		made, err := dialBroker(c.path())
		if err == nil {
			return made, true, nil
		}
		if !c.isPassing(err) {
			return nil, false, unavailable("can't connect to the broker", err)
		}
		if late := pause(ctx, deadline, tries); late != nil {
			if late = contextError(ctx, late); isLate(late) {
				return nil, false, unavailable("can't connect to the broker", err)
			}
			return nil, false, late
		}
	}
}

// isPassing reports whether a later connect may succeed: the queue is full, or the broker restarts.
func (c *Client) isPassing(err error) bool {
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR) {
		return true
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.reached && (errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT))
}

func (c *Client) takeIdle() *conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.idle)
	if n == 0 {
		return nil
	}
	taken := c.idle[n-1]
	c.idle = c.idle[:n-1]
	return taken
}

// keep puts a connection back. After a reply without an id, the broker closes it.
func (c *Client) keep(connection *conn, answer *reply) {
	c.mu.Lock()
	c.reached = true
	isKept := !answer.noID && len(c.idle) < maxConnections
	if isKept {
		c.idle = append(c.idle, connection)
	}
	c.mu.Unlock()
	if !isKept {
		connection.close()
	}
}

func (c *Client) path() string {
	if c.Broker != "" {
		return c.Broker
	}
	if path := os.Getenv("NSBROKER_SOCKET"); path != "" {
		return path
	}
	return DefaultBroker
}

// pause waits a moment, longer after each try.
func pause(ctx context.Context, deadline time.Time, tries int) error {
	length := longestPause
	if tries < 5 && firstPause<<tries < longestPause {
		length = firstPause << tries
	}
	left := time.Until(deadline)
	if left <= 0 {
		return os.ErrDeadlineExceeded
	}
	if left < length {
		length = left
	}
	timer := time.NewTimer(length)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
