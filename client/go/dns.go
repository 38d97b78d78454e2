package nsbroker

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// Questions to name servers. Source: RFC 1035.

const (
	dnsPort       = 53
	typeA         = 1
	typeCNAME     = 5
	typeAAAA      = 28
	classIN       = 1
	headerBytes   = 12
	flagResponse  = 0x8000
	flagTruncated = 0x0200
	flagRecursion = 0x0100
	flagAvailable = 0x0080
	codeMask      = 0x000f
	codeFailure   = 2
	codeNoName    = 3
	maxChain      = 16   // Names in a chain of CNAMEs.
	maxDatagram   = 4096 // Without EDNS, answers have at most 512 bytes.
	ttlOfHosts    = 2    // Seconds: as long as the files are kept.
)

// isName reports whether a name can be asked for. It keeps out what no host has, such as a space or a NUL.
func isName(name string) bool {
	if name == "" || len(name) > 253 {
		return false
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 {
			return false
		}
		for _, b := range []byte(label) {
			if b <= ' ' || b >= 0x7f {
				return false
			}
		}
	}
	return true
}

// newQuestion encodes a question with a random id.
func newQuestion(name string, rrtype uint16) []byte {
	message := make([]byte, headerBytes, headerBytes+len(name)+6)
	if _, err := rand.Read(message[:2]); err != nil {
		panic(err) // The kernel has no random numbers: guessable ids would be unsafe.
	}
	binary.BigEndian.PutUint16(message[2:], flagRecursion)
	binary.BigEndian.PutUint16(message[4:], 1)
	for _, label := range strings.Split(name, ".") {
		message = append(append(message, byte(len(label))), label...)
	}
	message = binary.BigEndian.AppendUint16(append(message, 0), rrtype)
	return binary.BigEndian.AppendUint16(message, classIN)
}

// askServers asks for the addresses of a name. errNoSuchHost means that a server knows that there are none.
func (n Namespace) askServers(ctx context.Context, files *nameFiles, kind ipKind, name string) ([]netip.Addr, error) {
	var questions [][]byte
	if kind.family != syscall.AF_INET {
		questions = append(questions, newQuestion(name, typeAAAA))
	}
	if kind.family != syscall.AF_INET6 {
		questions = append(questions, newQuestion(name, typeA))
	}
	var failure error
	for attempt := 0; attempt < files.attempts; attempt++ {
		for _, server := range files.servers {
			answers, err := n.askServer(ctx, files, server, questions)
			if ended := ctx.Err(); ended != nil {
				return nil, ended
			}
			var found []netip.Addr
			for _, answer := range answers {
				more, unreadable := addressesIn(answer)
				if unreadable != nil {
					err = unreadable
				}
				found = append(found, more...)
			}
			switch {
			case len(found) > 0:
				return found, nil
			case err == nil:
				return nil, errNoSuchHost
			}
			failure = fmt.Errorf("name server %v: %w", server.Addr(), err)
		}
	}
	return nil, failure
}

// askServer sends questions to a server at once, and returns an answer for each: by TCP if an answer is truncated, or if
// no grant allows UDP.
func (n Namespace) askServer(
	ctx context.Context, files *nameFiles, server netip.AddrPort, questions [][]byte,
) ([][]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, files.timeout)
	defer cancel()
	answers := make([][]byte, len(questions))
	if !files.useTCP {
		err := n.askByUDP(ctx, server, questions, answers)
		var refusal *Error
		isDenied := errors.As(err, &refusal) && refusal.Code == CodeDenied
		if err != nil && !isDenied {
			return nil, err
		}
	}
	for i, question := range questions {
		if answers[i] != nil && binary.BigEndian.Uint16(answers[i][2:])&flagTruncated == 0 {
			continue
		}
		var err error
		if answers[i], err = n.askByTCP(ctx, server, question); err != nil {
			return nil, err
		}
	}
	return answers, nil
}

// dialServer connects to a name server. Its socket ends with the context.
func (n Namespace) dialServer(ctx context.Context, sotype int, server netip.AddrPort) (net.Conn, func(), error) {
	kind := ipKind{sotype: sotype}.of(server.Addr())
	made, err := n.dialOne(ctx, kind, server.Addr(), server.Port())
	if err != nil {
		return nil, nil, err
	}
	stop := watch(ctx, made.SetDeadline)
	return made, func() { stop(); made.Close() }, nil
}

func (n Namespace) askByUDP(ctx context.Context, server netip.AddrPort, questions, answers [][]byte) error {
	socket, end, err := n.dialServer(ctx, syscall.SOCK_DGRAM, server)
	if err != nil {
		return err
	}
	defer end()
	for _, question := range questions {
		if _, err := socket.Write(question); err != nil {
			return err
		}
	}
	buffer := make([]byte, maxDatagram)
	for missing := len(questions); missing > 0; {
		size, err := socket.Read(buffer)
		if err != nil {
			return err
		}
		for i, question := range questions {
			if answers[i] == nil && answersQuestion(buffer[:size], question) {
				answers[i] = append([]byte(nil), buffer[:size]...)
				missing--
				break
			}
		}
	}
	return nil
}

func (n Namespace) askByTCP(ctx context.Context, server netip.AddrPort, question []byte) ([]byte, error) {
	stream, end, err := n.dialServer(ctx, syscall.SOCK_STREAM, server)
	if err != nil {
		return nil, err
	}
	defer end()
	if err := writeMessage(stream, question); err != nil {
		return nil, err
	}
	answer, err := readMessage(stream)
	if err != nil {
		return nil, err
	}
	if !answersQuestion(answer, question) {
		return nil, errors.New("the answer is one to another question")
	}
	return answer, nil
}

// writeMessage and readMessage use the form of TCP: a length of two bytes comes first.
func writeMessage(stream io.Writer, message []byte) error {
	_, err := stream.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(message))), message...))
	return err
}

func readMessage(stream io.Reader) ([]byte, error) {
	var length [2]byte
	if _, err := io.ReadFull(stream, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(length[:]))
	_, err := io.ReadFull(stream, message)
	return message, err
}

// endOfQuestion returns where the only question of a message ends, or 0 if it has another form.
func endOfQuestion(message []byte) int {
	if len(message) < headerBytes || binary.BigEndian.Uint16(message[4:]) != 1 {
		return 0
	}
	_, end, err := nameAt(message, headerBytes)
	if err != nil || end+4 > len(message) {
		return 0
	}
	return end + 4
}

// answersQuestion compares the id and the question. Other packets are ignored: anybody can send them.
func answersQuestion(answer, question []byte) bool {
	end := endOfQuestion(answer)
	asked := endOfQuestion(question)
	return end > 0 && asked > 0 && string(answer[:2]) == string(question[:2]) &&
		binary.BigEndian.Uint16(answer[2:])&flagResponse != 0 &&
		strings.EqualFold(string(answer[headerBytes:end]), string(question[headerBytes:asked]))
}

// nameAt reads a name, which can point to earlier ones, and returns where its own bytes end.
func nameAt(message []byte, at int) (name string, end int, err error) {
	var labels []string
	for length, isCompressed := 0, false; ; {
		if at >= len(message) {
			return "", 0, errors.New("a truncated name")
		}
		size := int(message[at])
		switch {
		case size == 0:
			if !isCompressed {
				end = at + 1
			}
			return strings.ToLower(strings.Join(labels, ".")), end, nil
		case size >= 0xc0:
			if at+1 >= len(message) {
				return "", 0, errors.New("a truncated name")
			}
			target := size&0x3f<<8 | int(message[at+1])
			if !isCompressed {
				end = at + 2
			}
			if target >= at {
				return "", 0, errors.New("a name that points forward") // It could point to itself.
			}
			at, isCompressed = target, true
		case size > 63 || at+1+size > len(message):
			return "", 0, errors.New("a label that is too long")
		default:
			if length += size + 1; length > 255 {
				return "", 0, errors.New("a name that is too long")
			}
			labels = append(labels, string(message[at+1:at+1+size]))
			at += 1 + size
		}
	}
}

// addressesIn returns the addresses of the name that an answer is about, along its CNAMEs.
func addressesIn(answer []byte) ([]netip.Addr, error) {
	flags := binary.BigEndian.Uint16(answer[2:])
	switch flags & codeMask {
	case 0:
	case codeNoName:
		return nil, nil
	default:
		return nil, fmt.Errorf("the response code %d", flags&codeMask)
	}
	name, _, err := nameAt(answer, headerBytes)
	if err != nil {
		return nil, err
	}
	aliases, addresses := map[string]string{}, map[string][]netip.Addr{}
	at := endOfQuestion(answer)
	for count := int(binary.BigEndian.Uint16(answer[6:])); count > 0; count-- {
		owner, end, err := nameAt(answer, at)
		if err != nil {
			return nil, err
		}
		if end+10 > len(answer) {
			return nil, errors.New("a truncated record")
		}
		rrtype, start := binary.BigEndian.Uint16(answer[end:]), end+10
		at = start + int(binary.BigEndian.Uint16(answer[end+8:]))
		if at > len(answer) {
			return nil, errors.New("a truncated record")
		}
		if binary.BigEndian.Uint16(answer[end+2:]) != classIN {
			continue
		}
		data := answer[start:at]
		switch {
		case rrtype == typeCNAME:
			if aliases[owner], _, err = nameAt(answer, start); err != nil {
				return nil, err
			}
		case rrtype == typeA && len(data) == 4, rrtype == typeAAAA && len(data) == 16:
			addr, _ := netip.AddrFromSlice(data)
			addresses[owner] = append(addresses[owner], addr)
		}
	}
	for i := 0; i < maxChain; i++ {
		if found := addresses[name]; found != nil {
			return found, nil
		}
		next, ok := aliases[name]
		if !ok {
			break
		}
		name = next
	}
	return nil, nil
}

// Resolver returns a resolver for packages that take one, for example for [net.Resolver.LookupTXT]. It asks the
// namespace's hosts file, and then its name servers, over sockets of the namespace.
//
// The type itself reads the program's own /etc/hosts before it asks, and appends the program's own search list to names
// without a final dot. [Namespace.LookupNetIP] and the Dial methods do not: prefer them for addresses.
func (n Namespace) Resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		files, err := n.resolverFiles(ctx)
		if err != nil {
			return nil, err
		}
		// The resolver takes it for a connection by TCP to a name server.
		ours, theirs := net.Pipe()
		go n.serveQuestions(ctx, files, theirs)
		return ours, nil
	}}
}

// serveQuestions answers one question after the other until the resolver closes its end.
func (n Namespace) serveQuestions(ctx context.Context, files *nameFiles, stream net.Conn) {
	defer stream.Close()
	for {
		question, err := readMessage(stream)
		if err != nil || endOfQuestion(question) == 0 {
			return
		}
		answer := files.answer(question)
		if answer == nil {
			answer = n.forward(ctx, files, question)
		}
		if writeMessage(stream, answer) != nil {
			return
		}
	}
}

// forward passes a question on to the name servers.
func (n Namespace) forward(ctx context.Context, files *nameFiles, question []byte) []byte {
	for attempt := 0; attempt < files.attempts; attempt++ {
		for _, server := range files.servers {
			answers, err := n.askServer(ctx, files, server, [][]byte{question})
			if err == nil {
				return answers[0]
			}
		}
	}
	return replyTo(question, codeFailure)
}

// replyTo begins a reply without records.
func replyTo(question []byte, code uint16) []byte {
	reply := append([]byte(nil), question[:endOfQuestion(question)]...)
	binary.BigEndian.PutUint16(reply[2:], flagResponse|flagRecursion|flagAvailable|code)
	copy(reply[6:headerBytes], make([]byte, headerBytes-6))
	return reply
}

// answer answers a question from the hosts file, or returns nil if it does not have the name.
func (f *nameFiles) answer(question []byte) []byte {
	end := endOfQuestion(question)
	rrtype := binary.BigEndian.Uint16(question[end-4:])
	name, _, err := nameAt(question, headerBytes)
	if err != nil || (rrtype != typeA && rrtype != typeAAAA) {
		return nil
	}
	found, isKnown := f.known(name)
	if !isKnown {
		return nil
	}
	reply := replyTo(question, 0)
	count := uint16(0)
	for _, addr := range found {
		if addr.Is4() != (rrtype == typeA) || addr.Is4In6() {
			continue
		}
		count++
		data := addr.AsSlice()
		reply = binary.BigEndian.AppendUint16(append(reply, 0xc0, headerBytes), rrtype)
		reply = binary.BigEndian.AppendUint16(reply, classIN)
		reply = binary.BigEndian.AppendUint32(reply, ttlOfHosts)
		reply = append(binary.BigEndian.AppendUint16(reply, uint16(len(data))), data...)
	}
	binary.BigEndian.PutUint16(reply[6:], count)
	return reply
}
