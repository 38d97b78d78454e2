package nsbroker

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

// Codes of an [Error]. The first six are those of the protocol.
const (
	CodeBadRequest         = "bad-request"         // The broker did not understand: it may be older than the package.
	CodeDenied             = "denied"              // The policy grants no such socket. The message names the missing part.
	CodeNoSuchNamespace    = "no-such-namespace"   // There is no such namespace, or not within Wait.
	CodeOSError            = "os-error"            // The kernel refused. Errno says why.
	CodeOverloaded         = "overloaded"          // A quota of the broker is used up. Try again later.
	CodeUnsupportedVersion = "unsupported-version" // The broker does not speak version 1.

	CodeUnavailable    = "unavailable"     // The broker can't be reached, or does not answer.
	CodeProtocol       = "protocol"        // The other end does not follow the protocol.
	CodeWrongNamespace = "wrong-namespace" // A socket arrived that differs from its description. It was closed.
)

var brokerCodes = []string{
	CodeBadRequest, CodeDenied, CodeNoSuchNamespace, CodeOSError, CodeOverloaded, CodeUnsupportedVersion,
}

// An Error is a refusal of the broker, or a failure on the way to it.
//
// errors.Is compares it with the errors that you expect: a denied socket is os.ErrPermission, and a namespace that does
// not exist is os.ErrNotExist. An error of the kernel is its errno, for example syscall.EADDRINUSE.
//
//	if errors.Is(err, os.ErrPermission) {
//		var refusal *nsbroker.Error
//		errors.As(err, &refusal)
//		log.Print(refusal.Message) // for example: no grant of uid 1000 covers namespace 'tenant-mgmt'
//	}
type Error struct {
	Code      string
	Message   string        // For people.
	Namespace string        // The namespace that was asked for. Empty if the error is about no single one.
	Index     int           // The position of the spec that is at fault, or -1.
	Errno     syscall.Errno // With CodeOSError, otherwise 0.
	Err       error         // The cause, if the way to the broker failed.
}

func (e *Error) Error() string {
	text := "nsbroker: "
	if e.Namespace != "" {
		text += fmt.Sprintf("namespace %q: ", e.Namespace)
	}
	// The broker's own words already begin with its code, for example "bad-request: unknown op".
	if !strings.HasPrefix(e.Message, e.Code+":") && e.Code != CodeOSError {
		text += e.Code + ": "
	}
	text += e.Message
	if e.Err != nil {
		text += ": " + e.Err.Error()
	}
	return text
}

// Unwrap returns the cause, which is the errno if the kernel refused.
func (e *Error) Unwrap() error {
	if e.Errno != 0 {
		return e.Errno
	}
	if e.Code == CodeUnavailable && errors.Is(e.Err, os.ErrNotExist) {
		return nil // The broker's socket is missing. os.ErrNotExist would mean the namespace.
	}
	return e.Err
}

// Is makes a refusal of the policy os.ErrPermission, and a missing namespace os.ErrNotExist.
func (e *Error) Is(target error) bool {
	switch e.Code {
	case CodeDenied:
		return target == os.ErrPermission
	case CodeNoSuchNamespace:
		return target == os.ErrNotExist
	}
	return false
}

// Timeout reports whether the broker did not answer in time. It makes the error a [net.Error].
func (e *Error) Timeout() bool { return errors.Is(e.Err, os.ErrDeadlineExceeded) }

// Temporary reports whether the same call may succeed later.
func (e *Error) Temporary() bool { return e.Code == CodeOverloaded || e.Code == CodeUnavailable }

func unavailable(message string, cause error) *Error {
	return &Error{Code: CodeUnavailable, Message: message, Index: -1, Err: cause}
}

func violation(message string, cause error) *Error {
	return &Error{Code: CodeProtocol, Message: message, Index: -1, Err: cause}
}

// contextError returns the context's error if it has ended, otherwise err. A deadline has passed a moment before the
// context says so.
func contextError(ctx context.Context, err error) error {
	if ended := ctx.Err(); ended != nil {
		return ended
	}
	if end, ok := ctx.Deadline(); ok && !time.Now().Before(end) {
		return context.DeadlineExceeded
	}
	return err
}
