package nsbroker

import (
	"fmt"
	"math"
	"syscall"
)

const (
	maxBlobBytes = 1 << 26
	maxErrno     = 4095
)

// entered is a namespace that the broker entered for a request.
type entered struct{ cookie, device, inode uint64 }

// opened describes a socket of a reply.
type opened struct {
	cookie  uint64
	ns      int
	address Address // nil: the broker did not bind it.
}

// reply is a decoded reply: of sockets, of a blob, or of an error.
type reply struct {
	id         uint64
	noID       bool // An error whose id is nil.
	namespaces []entered
	sockets    []opened
	isBlob     bool
	blobBytes  int64
	err        *Error
}

// decodeReply decodes a reply. families are those of the request's specs: a reply does not repeat them. If they are
// nil, an address's family is guessed by its shape.
func decodeReply(data []byte, families []int) (*reply, error) {
	top, err := decodePacket(data)
	if err != nil {
		return nil, err
	}
	var made reply
	_, isError := top.get("error")
	_, made.isBlob = top.get("blob")
	switch {
	case isError:
		err = decodeError(top, &made)
	case made.isBlob:
		if err = checkKeys(top, []string{"id", "blob"}, nil); err == nil {
			size, _ := top.get("blob")
			made.blobBytes, err = asInt(size, 0, maxBlobBytes, "blob")
		}
	default:
		err = decodeSockets(top, families, &made)
	}
	if err != nil {
		return nil, err
	}
	id, _ := top.get("id")
	if id == nil && isError {
		made.noID = true
		return &made, nil
	}
	number, err := asInt(id, 0, math.MaxInt64, "id")
	made.id = uint64(number)
	return &made, err
}

func decodeSockets(top *object, families []int, made *reply) error {
	if err := checkKeys(top, []string{"id", "namespaces", "sockets"}, nil); err != nil {
		return err
	}
	value, _ := top.get("namespaces")
	namespaces, err := asList(value, 1, maxSockets, "namespaces")
	if err != nil {
		return err
	}
	seen := make(map[uint64]bool, len(namespaces))
	for _, item := range namespaces {
		namespace, err := decodeEntered(item)
		if err != nil {
			return err
		}
		if seen[namespace.cookie] {
			return fmt.Errorf("a namespace twice")
		}
		seen[namespace.cookie] = true
		made.namespaces = append(made.namespaces, namespace)
	}
	value, _ = top.get("sockets")
	sockets, err := asList(value, 1, maxSockets, "sockets")
	if err != nil {
		return err
	}
	if families != nil && len(families) != len(sockets) {
		return fmt.Errorf("%d sockets for %d specs", len(sockets), len(families))
	}
	for i, item := range sockets {
		family := -1
		if families != nil {
			family = families[i]
		}
		socket, err := decodeOpened(item, family, len(namespaces))
		if err != nil {
			return err
		}
		made.sockets = append(made.sockets, socket)
	}
	return nil
}

func decodeEntered(item any) (made entered, err error) {
	numbers, err := asList(item, 3, 3, "a namespace")
	if err != nil {
		return made, err
	}
	if made.cookie, err = asUint64(numbers[0], 1, "a namespace's cookie"); err != nil {
		return made, err
	}
	if made.device, err = asUint64(numbers[1], 0, "a namespace's device"); err != nil {
		return made, err
	}
	made.inode, err = asUint64(numbers[2], 0, "a namespace's inode")
	return made, err
}

func decodeOpened(item any, family, namespaces int) (made opened, err error) {
	o, err := asMap(item, "a socket")
	if err != nil {
		return made, err
	}
	if err = checkKeys(o, []string{"cookie"}, []string{"ns", "address"}); err != nil {
		return made, err
	}
	for _, p := range o.pairs {
		switch p.key {
		case "cookie":
			made.cookie, err = asUint64(p.value, 1, "a socket's cookie")
		case "ns":
			var index int64
			index, err = asInt(p.value, 0, int64(namespaces)-1, "ns")
			made.ns = int(index)
		case "address":
			if family < 0 {
				family = guessFamily(p.value)
			}
			made.address, err = decodeAddress(p.value, family)
		}
		if err != nil {
			return made, err
		}
	}
	return made, nil
}

func decodeError(top *object, made *reply) error {
	if err := checkKeys(top, []string{"id", "error"}, nil); err != nil {
		return err
	}
	value, _ := top.get("error")
	o, err := asMap(value, "error")
	if err != nil {
		return err
	}
	if err := checkKeys(o, []string{"code", "message"}, []string{"index", "errno"}); err != nil {
		return err
	}
	refusal := &Error{Index: -1}
	for _, p := range o.pairs {
		var number int64
		switch p.key {
		case "code":
			refusal.Code, err = asText(p.value, "code")
		case "message":
			refusal.Message, err = asText(p.value, "message")
		case "index":
			number, err = asInt(p.value, 0, maxSockets-1, "index")
			refusal.Index = int(number)
		case "errno":
			number, err = asInt(p.value, 1, maxErrno, "errno")
			refusal.Errno = syscall.Errno(number)
		}
		if err != nil {
			return err
		}
	}
	if !contains(brokerCodes, refusal.Code) {
		return fmt.Errorf("the unknown code %q", refusal.Code)
	}
	if (refusal.Errno != 0) != (refusal.Code == CodeOSError) {
		return fmt.Errorf("errno comes with os-error, and with it alone")
	}
	made.err = refusal
	return nil
}

// decodeDelivery decodes a packet of the channel, and returns its id.
func decodeDelivery(data []byte) (uint64, error) {
	top, err := decodePacket(data)
	if err != nil {
		return 0, err
	}
	if err := checkKeys(top, []string{"id"}, nil); err != nil {
		return 0, err
	}
	value, _ := top.get("id")
	id, err := asInt(value, 0, math.MaxInt64, "id")
	return uint64(id), err
}
