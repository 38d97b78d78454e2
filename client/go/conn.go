package nsbroker

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"time"
)

// errLost says that the connection ended before the reply. The request may be asked again.
var errLost = errors.New("the broker ended the connection before it answered")

// A conn is one connection to the broker, with its channel for descriptors. It has one request in flight at a time, so
// a reply with another id, or a packet of the channel with another id, is an error. After an error it is not used again.
type conn struct {
	unix    *net.UnixConn
	channel int // The client's end. -1 before the first reply with descriptors.
	lastID  uint64
	buffer  []byte
	uid     int // As whom it was opened: that is what the broker sees.
	gid     int
}

// question is a request in the form in which it can be asked again.
type question struct {
	encode   func(id uint64) []byte
	sent     []int // Descriptors of namespaces that go with it.
	families []int // Of its sockets. nil if the answer is a blob.
}

// dialBroker opens a connection. It does not wait.
func dialBroker(path string) (*conn, error) {
	unix, err := net.DialUnix("unixpacket", nil, &net.UnixAddr{Name: path, Net: "unixpacket"})
	if err != nil {
		return nil, err
	}
	// A byte more than a packet may have, so that a longer one shows.
	made := &conn{unix: unix, channel: -1, buffer: make([]byte, maxPacketBytes+1)}
	made.uid, made.gid = syscall.Geteuid(), syscall.Getegid()
	return made, nil
}

// isOurs reports whether the connection still stands for the user of the program.
func (c *conn) isOurs() bool { return c.uid == syscall.Geteuid() && c.gid == syscall.Getegid() }

// close closes the connection and its channel, and with it the descriptors that were not taken.
func (c *conn) close() {
	c.unix.Close()
	if c.channel >= 0 {
		syscall.Close(c.channel)
		c.channel = -1
	}
}

// exchange asks, and returns the reply with its descriptors, which the caller then owns. After any error, the caller
// must close the connection. An error reply is a reply.
func (c *conn) exchange(ctx context.Context, deadline time.Time, q *question) (*reply, []int, error) {
	if err := c.unix.SetDeadline(deadline); err != nil {
		return nil, nil, err
	}
	stop := watch(ctx, c.unix.SetDeadline)
	answer, fds, err := c.roundTrip(q)
	if stop(); err != nil && ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}
	return answer, fds, err
}

func (c *conn) roundTrip(q *question) (*reply, []int, error) {
	c.lastID++
	var rights []byte
	if len(q.sent) > 0 {
		rights = syscall.UnixRights(q.sent...)
	}
	if _, _, err := c.unix.WriteMsgUnix(q.encode(c.lastID), rights, nil); err != nil {
		// The broker may have refused the connection with a packet before it closed it. Then this packet is the answer.
		if answer, _, readErr := c.receive(q); readErr == nil && answer.noID {
			return answer, nil, nil
		}
		return nil, nil, lossOf(err)
	}
	return c.receive(q)
}

// lossOf turns the errors of a connection that has ended into errLost.
func lossOf(err error) error {
	for _, ended := range []error{io.EOF, syscall.EPIPE, syscall.ECONNRESET, syscall.ENOTCONN} {
		if errors.Is(err, ended) {
			return errLost
		}
	}
	return err
}

func (c *conn) receive(q *question) (answer *reply, fds []int, err error) {
	oob := make([]byte, syscall.CmsgSpace(4))
	n, oobn, flags, _, err := c.unix.ReadMsgUnix(c.buffer, oob)
	if errors.Is(err, syscall.ECONNRESET) {
		// The broker has closed the connection without reading. The kernel says so before it yields the last packet.
		n, oobn, flags, _, err = c.unix.ReadMsgUnix(c.buffer, oob)
	}
	if err != nil {
		return nil, nil, lossOf(err)
	}
	came, err := takeRights(oob[:oobn], flags)
	if err != nil {
		return nil, nil, violation("a reply", err)
	}
	defer func() {
		if err != nil {
			closeAll(came)
		}
	}()
	answer, err = decodeReply(c.buffer[:n], q.families)
	if err != nil {
		return nil, nil, violation("a reply", err)
	}
	announced := len(answer.sockets)
	if answer.isBlob {
		announced = 1
	}
	switch {
	case answer.noID && len(came) == 0:
		return answer, nil, nil
	case answer.id != c.lastID:
		return nil, nil, violation(fmt.Sprintf("a reply with the id %d in place of %d", answer.id, c.lastID), nil)
	case answer.err == nil && answer.isBlob != (q.families == nil):
		return nil, nil, violation("a reply to another kind of request", nil)
	case announced > 0 && c.channel < 0 && len(came) == 1:
		c.channel, came = came[0], nil
	case len(came) > 0:
		return nil, nil, violation("a descriptor that no reply announces", nil)
	case announced > 0 && c.channel < 0:
		return nil, nil, violation("the first reply with descriptors came without the channel", nil)
	}
	if announced == 0 {
		return answer, nil, nil
	}
	fds, err = c.takeDelivery(announced)
	return answer, fds, err
}

// takeDelivery takes the next packet of the channel, which is there already.
func (c *conn) takeDelivery(announced int) ([]int, error) {
	packet := make([]byte, 64)
	oob := make([]byte, syscall.CmsgSpace(4*maxSockets))
	var n, oobn, flags int
	err := error(syscall.EINTR)
	for err == syscall.EINTR {
		n, oobn, flags, _, err = syscall.Recvmsg(c.channel, packet, oob, syscall.MSG_DONTWAIT|syscall.MSG_CMSG_CLOEXEC)
	}
	if err != nil {
		return nil, violation("the descriptors of a reply did not come before it", err)
	}
	fds, err := takeRights(oob[:oobn], flags)
	if err != nil {
		return nil, violation("the channel", err)
	}
	id, err := decodeDelivery(packet[:n])
	switch {
	case err != nil:
	case id != c.lastID:
		err = fmt.Errorf("descriptors for the id %d in place of %d", id, c.lastID)
	case len(fds) != announced:
		err = fmt.Errorf("%d descriptors in place of %d", len(fds), announced)
	default:
		return fds, nil
	}
	closeAll(fds)
	return nil, violation("the channel", err)
}

// takeRights returns the descriptors of a received packet. If some were lost, or something else came, it closes them.
func takeRights(oob []byte, flags int) ([]int, error) {
	var fds []int
	messages, err := syscall.ParseSocketControlMessage(oob)
	for i := range messages {
		// An error means that it is no SCM_RIGHTS.
		more, rightsErr := syscall.ParseUnixRights(&messages[i])
		if rightsErr != nil {
			err = rightsErr
		}
		fds = append(fds, more...)
	}
	if err == nil && flags&(syscall.MSG_CTRUNC|syscall.MSG_TRUNC) != 0 {
		err = errors.New(confined)
	}
	if err != nil {
		closeAll(fds)
		return nil, err
	}
	return fds, nil
}

const confined = "a part of it was lost: more came than was announced, the program has no descriptor left, or a " +
	"security module (SELinux, AppArmor) does not let it have the socket"

// watch makes I/O end with an error as soon as the context ends. The caller must call stop, and can then set deadlines
// again.
func watch(ctx context.Context, setDeadline func(time.Time) error) (stop func()) {
	if ctx.Done() == nil {
		return func() {}
	}
	done, exited := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(exited)
		select {
		case <-ctx.Done():
			setDeadline(time.Unix(1, 0))
		case <-done:
		}
	}()
	return func() {
		close(done)
		<-exited
	}
}

// isLate reports whether I/O ended by a deadline.
func isLate(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }
