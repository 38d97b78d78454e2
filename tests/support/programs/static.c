/* Makes a socket, and tries the other ways to make one; prints what came of each as JSON: errnos, 0 for success. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SO_NETNS_COOKIE_NUMBER 71
#define IO_URING_SETUP 425

static void show(const char *name, long result) {
  printf(", \"%s\": %ld", name, result < 0 ? -result : 0);
}

#ifdef __x86_64__
#define X32_BIT 0x40000000

static long call_x32(long number, long first, long second, long third) {
  long result;
  __asm__ volatile("syscall"
                   : "=a"(result)
                   : "a"(number | X32_BIT), "D"(first), "S"(second), "d"(third)
                   : "rcx", "r11", "memory");
  return result;
}

static long call_int80(long number, long first, long second, long third) {
  long result;
  __asm__ volatile("int $0x80"
                   : "=a"(result)
                   : "a"(number), "b"(first), "c"(second), "d"(third)
                   : "r8", "r9", "r10", "r11", "memory");
  return (int)result;
}
#endif

int main(void) {
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  char params[120];
  if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE_NUMBER, &cookie, &length) < 0) {
    perror("socket");
    return 1;
  }
  printf("{\"cookie\": %llu", (unsigned long long)cookie);
  memset(params, 0, sizeof params);
  show("io_uring_setup", syscall(IO_URING_SETUP, 1, params) < 0 ? -errno : 0);
#ifdef __x86_64__
  show("x32 socket", call_x32(SYS_socket, AF_INET, SOCK_STREAM, 0));
  show("int80 socket", call_int80(359, AF_INET, SOCK_STREAM, 0));
  show("int80 socketcall", call_int80(102, 1, 0, 0));
  show("int80 getpid", call_int80(20, 0, 0, 0));
  show("x32 ioctl", call_x32(514, 0, SIOCGIFINDEX, 0));
  show("int80 ioctl", call_int80(54, 0, SIOCGIFINDEX, 0));
#endif
  printf("}\n");
  return 0;
}
