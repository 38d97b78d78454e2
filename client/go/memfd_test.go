package nsbroker

import (
	"syscall"
	"unsafe"
)

func memfdCreate(number uintptr, name *byte, flags uintptr) (int, syscall.Errno) {
	fd, _, errno := syscall.Syscall(number, uintptr(unsafe.Pointer(name)), flags|1, 0)
	return int(fd), errno
}
