package nsbroker

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The other side of the protocol, for tests: it decodes requests, encodes replies, and misbehaves on request.

// request is a decoded request.
type request struct {
	op      string
	id      uint64
	specs   []Spec // For explain and resolver: one.
	sent    []int
	wait    time.Duration
	engines bool
	connect Address
}

// refused is how a broker refuses a request. Its id is nil if it could not be read.
type refused struct {
	code  string
	id    any
	index int
	cause error
}

func (r *refused) Error() string { return fmt.Sprint(r.code, ": ", r.cause) }

func (r *request) encode() []byte {
	switch r.op {
	case "open":
		return encodeOpen(r.id, r.specs, r.sent, r.wait)
	case "namespaces":
		return encodeNamespaces(r.id, r.engines)
	case "resolver":
		return encodeResolver(r.id, r.specs[0].Namespace, r.sent[0])
	}
	return encodeExplain(r.id, &r.specs[0], r.sent[0], r.connect)
}

func decodeRequest(packet []byte, fds int) (*request, *refused) {
	top, err := decodePacket(packet)
	if err != nil {
		return nil, &refused{CodeBadRequest, nil, -1, err}
	}
	value, _ := top.get("id")
	id, err := asInt(value, 0, math.MaxInt64, "id")
	if err != nil {
		return nil, &refused{CodeBadRequest, nil, -1, err}
	}
	if version, _ := top.get("v"); version != int64(1) {
		return nil, &refused{CodeUnsupportedVersion, uint64(id), -1, fmt.Errorf("version %v", version)}
	}
	made := &request{id: uint64(id)}
	index, err := made.decode(top)
	if err == nil {
		err = made.checkSent(fds)
	}
	if err != nil {
		return nil, &refused{CodeBadRequest, uint64(id), index, err}
	}
	return made, nil
}

func (r *request) checkSent(fds int) error {
	named := map[int]bool{}
	for _, sent := range r.sent {
		if sent >= 0 {
			named[sent] = true
		}
	}
	for i := 0; i < fds || i < len(named); i++ {
		if i >= fds || !named[i] {
			return fmt.Errorf("descriptors")
		}
	}
	return nil
}

func (r *request) decode(top *object) (int, error) {
	value, _ := top.get("op")
	op, err := asText(value, "op")
	if err != nil {
		return -1, err
	}
	r.op = op
	header := []string{"v", "id", "op"}
	switch op {
	case "open":
		if err := checkKeys(top, append(header, "sockets"), []string{"wait"}); err != nil {
			return -1, err
		}
		if value, ok := top.get("wait"); ok {
			if r.wait, err = decodeWait(value); err != nil {
				return -1, err
			}
		}
		value, _ := top.get("sockets")
		items, err := asList(value, 1, maxSockets, "sockets")
		if err != nil {
			return -1, err
		}
		for i, item := range items {
			if err := r.decodeSpec(item); err != nil {
				return i, err
			}
		}
		return -1, nil
	case "namespaces":
		if err := checkKeys(top, header, []string{"engines"}); err != nil {
			return -1, err
		}
		if value, ok := top.get("engines"); ok {
			r.engines, err = asBool(value, "engines")
		}
		return -1, err
	case "resolver":
		if err := checkKeys(top, append(header, "ns"), nil); err != nil {
			return -1, err
		}
		value, _ := top.get("ns")
		return -1, r.decodeNamespace(value, &Spec{})
	case "explain":
		if err := checkKeys(top, append(header, "socket"), []string{"connect"}); err != nil {
			return -1, err
		}
		value, _ := top.get("socket")
		if err := r.decodeSpec(value); err != nil {
			return -1, err
		}
		if value, ok := top.get("connect"); ok {
			if r.connect, err = decodeAddress(value, r.specs[0].Family); err != nil {
				return -1, err
			}
		}
		return -1, checkExplain(&r.specs[0], r.connect)
	}
	return -1, fmt.Errorf("op %q", op)
}

func decodeWait(value any) (time.Duration, error) {
	var seconds float64
	switch number := value.(type) {
	case int64:
		seconds = float64(number)
	case float64:
		seconds = number
	default:
		return 0, fmt.Errorf("wait")
	}
	if !(seconds >= 0 && seconds <= 60) {
		return 0, fmt.Errorf("wait")
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func (r *request) decodeNamespace(value any, spec *Spec) error {
	sent := -1
	switch ns := value.(type) {
	case string:
		spec.Namespace = ns
	case *object:
		if err := checkKeys(ns, []string{"fd"}, nil); err != nil {
			return err
		}
		fd, _ := ns.get("fd")
		number, err := asInt(fd, 0, maxSentNamespaces-1, "fd")
		if err != nil {
			return err
		}
		sent = int(number)
	default:
		return fmt.Errorf("ns")
	}
	r.specs, r.sent = append(r.specs, *spec), append(r.sent, sent)
	return nil
}

func (r *request) decodeSpec(item any) error {
	o, err := asMap(item, "a spec")
	if err != nil {
		return err
	}
	err = checkKeys(o, []string{"ns", "family", "type"}, []string{"proto", "options", "bind", "also", "listen"})
	if err != nil {
		return err
	}
	var s Spec
	var ns any
	for _, p := range o.pairs { // The family first: addresses need it.
		if p.key == "family" {
			var number int64
			if number, err = asInt(p.value, 0, math.MaxInt32, p.key); err != nil {
				return err
			}
			s.Family = int(number)
		}
	}
	for _, p := range o.pairs {
		var number int64
		var items []any
		switch p.key {
		case "ns":
			ns = p.value
		case "type":
			number, err = asInt(p.value, 0, math.MaxInt32, p.key)
			s.Type = int(number)
		case "proto":
			number, err = asInt(p.value, 0, math.MaxInt32, p.key)
			s.Proto = int(number)
		case "listen":
			number, err = asInt(p.value, 0, maxBacklog, p.key)
			s.Listen, s.Backlog = true, int(number)
		case "bind":
			s.Bind, err = decodeAddress(p.value, s.Family)
		case "also":
			if items, err = asList(p.value, 0, maxFurther, p.key); err != nil {
				return err
			}
			for _, item := range items {
				address, err := decodeAddress(item, s.Family)
				if err != nil {
					return err
				}
				s.Also = append(s.Also, address)
			}
		case "options":
			if items, err = asList(p.value, 0, maxOptions, p.key); err != nil {
				return err
			}
			for _, item := range items {
				option, err := decodeOption(item)
				if err != nil {
					return err
				}
				s.Options = append(s.Options, option)
			}
		}
		if err != nil {
			return err
		}
	}
	if err := r.decodeNamespace(ns, &s); err != nil {
		return err
	}
	return s.check()
}

func decodeOption(item any) (made Option, err error) {
	three, err := asList(item, 3, 3, "an option")
	if err != nil {
		return made, err
	}
	level, err := asInt(three[0], 0, math.MaxInt32, "a level")
	if err != nil {
		return made, err
	}
	name, err := asInt(three[1], 0, math.MaxInt32, "a name")
	if err != nil {
		return made, err
	}
	made.Level, made.Name = int(level), int(name)
	if data, ok := three[2].([]byte); ok {
		made.Bytes = data
		return made, nil
	}
	made.Int, err = asInt(three[2], math.MinInt32, math.MaxUint32, "a value")
	return made, err
}

func encodeReply(r *reply) []byte {
	var b []byte
	switch {
	case r.err != nil:
		b = appendString(appendMapHeader(b, 2), "id")
		if r.noID {
			b = append(b, 0xc0)
		} else {
			b = appendUint(b, r.id)
		}
		n := 2
		if r.err.Errno != 0 {
			n++
		}
		if r.err.Index >= 0 {
			n++
		}
		b = appendMapHeader(appendString(b, "error"), n)
		b = appendString(appendString(appendString(appendString(b, "code"), r.err.Code), "message"), r.err.Message)
		if r.err.Index >= 0 {
			b = appendUint(appendString(b, "index"), uint64(r.err.Index))
		}
		if r.err.Errno != 0 {
			b = appendUint(appendString(b, "errno"), uint64(r.err.Errno))
		}
		return b
	case r.isBlob:
		b = appendUint(appendString(appendMapHeader(b, 2), "id"), r.id)
		return appendUint(appendString(b, "blob"), uint64(r.blobBytes))
	}
	b = appendUint(appendString(appendMapHeader(b, 3), "id"), r.id)
	b = appendListHeader(appendString(b, "namespaces"), len(r.namespaces))
	for _, n := range r.namespaces {
		b = appendUint(appendUint(appendUint(appendListHeader(b, 3), n.cookie), n.device), n.inode)
	}
	b = appendListHeader(appendString(b, "sockets"), len(r.sockets))
	for _, s := range r.sockets {
		n := 1
		if s.ns != 0 {
			n++
		}
		if s.address != nil {
			n++
		}
		b = appendUint(appendString(appendMapHeader(b, n), "cookie"), s.cookie)
		if s.ns != 0 {
			b = appendUint(appendString(b, "ns"), uint64(s.ns))
		}
		if s.address != nil {
			b = s.address.append(appendString(b, "address"))
		}
	}
	return b
}

// fakeBroker makes sockets of the test's own namespace. `serve` decides about each connection.
type fakeBroker struct {
	t        *testing.T
	path     string
	listener int
	group    sync.WaitGroup
	lock     sync.Mutex
	open     map[int]bool
	served   atomic.Int64
	stopped  bool
}

// peer is a connection of a client.
type peer struct {
	fd        int
	channel   int // The broker's end.
	clientEnd int // Until it was sent.
	number    int // 0 for the first connection.
}

func startFake(t *testing.T, serve func(p *peer)) *fakeBroker {
	t.Helper()
	f := &fakeBroker{t: t, path: t.TempDir() + "/s", open: map[int]bool{}}
	f.start(serve)
	t.Cleanup(f.stop)
	return f
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func (f *fakeBroker) start(serve func(p *peer)) {
	f.listener = must(syscall.Socket(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0))
	syscall.Unlink(f.path)
	if err := syscall.Bind(f.listener, &syscall.SockaddrUnix{Name: f.path}); err != nil {
		panic(err)
	}
	syscall.Listen(f.listener, 16)
	listener := f.listener
	f.lock.Lock()
	f.stopped = false
	f.lock.Unlock()
	f.group.Add(1)
	go func() {
		defer f.group.Done()
		for {
			fd, _, err := syscall.Accept4(listener, syscall.SOCK_CLOEXEC)
			if err == syscall.EINTR {
				continue
			}
			if err != nil {
				return
			}
			f.lock.Lock()
			f.open[fd] = true
			if f.stopped {
				syscall.Shutdown(fd, syscall.SHUT_RDWR)
			}
			number := int(f.served.Add(1)) - 1
			f.lock.Unlock()
			f.group.Add(1)
			go func() {
				defer f.group.Done()
				pair := must(syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_CLOEXEC, 0))
				p := &peer{fd, pair[0], pair[1], number}
				serve(p)
				syscall.Close(p.channel)
				if p.clientEnd >= 0 {
					syscall.Close(p.clientEnd)
				}
				f.lock.Lock()
				delete(f.open, fd)
				f.lock.Unlock()
				syscall.Close(fd)
			}()
		}
	}()
}

// stop ends it as kill -9 does.
func (f *fakeBroker) stop() {
	syscall.Shutdown(f.listener, syscall.SHUT_RDWR)
	f.lock.Lock()
	f.stopped = true
	for fd := range f.open {
		syscall.Shutdown(fd, syscall.SHUT_RDWR)
	}
	f.lock.Unlock()
	f.group.Wait()
	syscall.Close(f.listener)
}

// receive returns the next request, or nil if the client has gone.
func (p *peer) receive() *request {
	packet, oob := make([]byte, maxPacketBytes), make([]byte, syscall.CmsgSpace(4*maxSentNamespaces))
	for {
		n, oobn, flags, _, err := syscall.Recvmsg(p.fd, packet, oob, syscall.MSG_CMSG_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil
		}
		fds := must(takeRights(oob[:oobn], flags))
		closeAll(fds)
		made, refusal := decodeRequest(packet[:n], len(fds))
		if refusal != nil {
			panic(refusal)
		}
		return made
	}
}

func (p *peer) send(packet []byte, fds ...int) {
	syscall.Sendmsg(p.fd, packet, rightsOf(fds), nil, syscall.MSG_NOSIGNAL)
}

func (p *peer) deliver(id uint64, fds ...int) {
	packet := appendUint(appendString(appendMapHeader(nil, 1), "id"), id)
	syscall.Sendmsg(p.channel, packet, rightsOf(fds), nil, syscall.MSG_NOSIGNAL)
}

func rightsOf(fds []int) []byte {
	if len(fds) == 0 {
		return nil
	}
	return syscall.UnixRights(fds...)
}

// reply sends a reply, with the channel if it is the first one with descriptors.
func (p *peer) reply(r *reply) {
	if r.err == nil && p.clientEnd >= 0 {
		p.send(encodeReply(r), p.clientEnd)
		syscall.Close(p.clientEnd)
		p.clientEnd = -1
		return
	}
	p.send(encodeReply(r))
}

// sockets makes the sockets of a request and a truthful reply.
func sockets(r *request) (*reply, []int) {
	made := &reply{id: r.id}
	var fds []int
	for _, spec := range r.specs {
		fd := must(syscall.Socket(spec.Family, spec.Type|syscall.SOCK_CLOEXEC, spec.Proto))
		fds = append(fds, fd)
		namespace := entered{must(cookie(fd, soNetnsCookie)), 4, 4026531840}
		made.namespaces = []entered{namespace}
		made.sockets = append(made.sockets, opened{cookie: must(cookie(fd, soCookie))})
	}
	return made, fds
}

// answer answers a request for sockets as it should be.
func (p *peer) answer(r *request) {
	made, fds := sockets(r)
	p.deliver(r.id, fds...)
	closeAll(fds)
	p.reply(made)
}

// honest serves all requests for sockets.
func honest(p *peer) {
	for r := p.receive(); r != nil; r = p.receive() {
		p.answer(r)
	}
}
