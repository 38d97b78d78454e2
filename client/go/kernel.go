package nsbroker

import (
	"fmt"
	"syscall"
	"unsafe"
)

// What the kernel says about descriptors, and what package syscall lacks.

// Source: include/uapi/asm-generic/socket.h, and include/uapi/linux/fcntl.h. All architectures of Go have these values.
const (
	soMark        = 36
	soCookie      = 57
	soNetnsCookie = 71
	fGetSeals     = 1034
	// F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW and F_SEAL_WRITE: nobody can change the content any more.
	allSeals = 1 | 2 | 4 | 8
)

// cookie reads a socket option of 64 bits. Package syscall has none, but an IPMreq has these 8 bytes, too.
func cookie(fd, option int) (uint64, error) {
	buffer, err := syscall.GetsockoptIPMreq(fd, syscall.SOL_SOCKET, option)
	if err != nil {
		return 0, err
	}
	var value uint64
	bytes := (*[8]byte)(unsafe.Pointer(&value))
	copy(bytes[:4], buffer.Multiaddr[:])
	copy(bytes[4:], buffer.Interface[:])
	return value, nil
}

// proveSocket compares a descriptor with the reply's description of it.
func proveSocket(fd int, want opened, namespace entered) error {
	got, err := cookie(fd, soCookie)
	if err != nil || got != want.cookie {
		return &Error{Code: CodeWrongNamespace, Index: -1, Err: err,
			Message: fmt.Sprintf("a socket with the cookie %d came in place of %d", got, want.cookie)}
	}
	got, err = cookie(fd, soNetnsCookie)
	if err != nil || got != namespace.cookie {
		return &Error{Code: CodeWrongNamespace, Index: -1, Err: err,
			Message: fmt.Sprintf("the socket is in the namespace with the cookie %d, not %d", got, namespace.cookie)}
	}
	return nil
}

// readBlob reads a blob of this size. It refuses one that somebody could still change.
func readBlob(fd int, size int64) ([]byte, error) {
	seals, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), fGetSeals, 0)
	if errno != 0 || seals&allSeals != allSeals {
		return nil, fmt.Errorf("the blob is not sealed")
	}
	var stat syscall.Stat_t
	if err := syscall.Fstat(fd, &stat); err != nil {
		return nil, err
	}
	if stat.Size != size {
		return nil, fmt.Errorf("a blob of %d bytes came in place of %d", stat.Size, size)
	}
	data := make([]byte, size)
	for done := 0; done < len(data); {
		n, err := syscall.Pread(fd, data[done:], int64(done))
		if err == syscall.EINTR {
			continue
		}
		if err != nil || n == 0 {
			return nil, fmt.Errorf("reading the blob: %w", err)
		}
		done += n
	}
	return data, nil
}

// interfaceIndex asks for the index of an interface in the namespace of a socket.
func interfaceIndex(fd int, name string) (uint32, error) {
	// struct ifreq of netdevice(7): a name of 16 bytes, and a union.
	var request [40]byte
	if len(name) > maxInterfaceBytes {
		return 0, syscall.ENODEV
	}
	copy(request[:], name)
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), syscall.SIOCGIFINDEX, uintptr(unsafe.Pointer(&request)))
	if errno != 0 {
		return 0, errno
	}
	return *(*uint32)(unsafe.Pointer(&request[16])), nil
}

func closeAll(fds []int) {
	for _, fd := range fds {
		syscall.Close(fd)
	}
}
