/* guest/agent/log.c - lines for the host; dropped and counted when it does not take them. */
#include "agent.h"

#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static int console = -1;

void log_to_console(void) {
  if (console < 0) console = open("/dev/console", O_WRONLY | O_CLOEXEC | O_NOCTTY);
}

static void send_line(enum snowglobe_log_source source, const char* line, size_t length) {
  static uint32_t dropped;
  if (console >= 0) {
    struct iovec parts[2] = {{(void*)line, length}, {(void*)"\n", 1}};
    ssize_t ignored = writev(console, parts, 2);
    (void)ignored;
  }
  /* Streams keep ROOM_FOR_STREAMS free and lines ROOM_FOR_LOG: neither can take the other's, nor
   * the room for answers. */
  if (port_room() < ROOM_FOR_LOG + length) {
    dropped++;
    return;
  }
  frame_begin(0, SNOWGLOBE_LOG);
  frame_u8((uint8_t)source);
  frame_u32(dropped);
  frame_string(line, length);
  frame_end();
  dropped = 0;
}

void log_line(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  if (length < 0) return;
  if ((size_t)length >= sizeof text) length = sizeof text - 1;
  send_line(SNOWGLOBE_LOG_AGENT, text, (size_t)length);
}

void log_postgres(const char* line, size_t length) {
  send_line(SNOWGLOBE_LOG_POSTGRES, line, length);
}
