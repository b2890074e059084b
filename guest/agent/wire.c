/* guest/agent/wire.c - reading and writing the payloads of protocol.h. */
#include "agent.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Strings of one payload, each with its NUL: never more than the payload, where each has 4 bytes of
 * length in front. */
static char string_arena[SNOWGLOBE_MAX_PAYLOAD];

struct reader wire_reader(const uint8_t* payload, size_t length) {
  return (struct reader){.at = payload, .left = length, .bad = false, .arena = string_arena};
}

static const uint8_t* take(struct reader* reader, size_t length) {
  if (reader->bad || reader->left < length) {
    reader->bad = true;
    return NULL;
  }
  const uint8_t* bytes = reader->at;
  reader->at += length;
  reader->left -= length;
  return bytes;
}

static uint16_t read_u16(struct reader* reader) {
  const uint8_t* bytes = take(reader, 2);
  return bytes ? (uint16_t)(bytes[0] | bytes[1] << 8) : 0;
}

uint32_t read_u32(struct reader* reader) {
  uint32_t value = 0;
  const uint8_t* bytes = take(reader, sizeof value);
  if (bytes) memcpy(&value, bytes, sizeof value); /* little-endian, as we are */
  return value;
}

uint64_t read_u64(struct reader* reader) {
  uint64_t value = 0;
  const uint8_t* bytes = take(reader, sizeof value);
  if (bytes) memcpy(&value, bytes, sizeof value);
  return value;
}

void read_bytes(struct reader* reader, uint8_t* bytes, size_t length) {
  const uint8_t* found = take(reader, length);
  memset(bytes, 0, length);
  if (found) memcpy(bytes, found, length);
}

const char* read_string(struct reader* reader) {
  uint32_t length = read_u32(reader);
  const uint8_t* bytes = take(reader, length);
  if (bytes && memchr(bytes, 0, length)) reader->bad = true;
  if (!bytes || reader->bad) return "";
  char* text = reader->arena;
  memcpy(text, bytes, length);
  text[length] = 0;
  reader->arena += length + 1;
  return text;
}

size_t read_list(struct reader* reader, char** strings) {
  size_t count = read_u16(reader);
  if (count > SNOWGLOBE_MAX_STRINGS) reader->bad = true;
  size_t have = 0;
  while (have < count && !reader->bad) strings[have++] = (char*)read_string(reader);
  if (reader->bad) have = 0;
  strings[have] = NULL;
  return have;
}

bool read_all(const struct reader* reader) { return !reader->bad && reader->left == 0; }

static uint8_t frame[SNOWGLOBE_HEADER_SIZE + SNOWGLOBE_MAX_PAYLOAD];
static size_t frame_length;

void frame_begin(uint32_t id, enum snowglobe_type type) {
  frame_length = 4; /* the length goes there at the end */
  frame_u32(id);
  frame_u32((uint32_t)type); /* u16 type, u16 zero */
}

void frame_bytes(const void* bytes, size_t length) {
  size_t room = sizeof frame - frame_length;
  if (length > room) length = room;
  memcpy(frame + frame_length, bytes, length);
  frame_length += length;
}

void frame_u8(uint8_t value) { frame_bytes(&value, sizeof value); }
void frame_u32(uint32_t value) { frame_bytes(&value, sizeof value); }
void frame_u64(uint64_t value) { frame_bytes(&value, sizeof value); }

void frame_string(const char* text, size_t length) {
  size_t room = sizeof frame - frame_length;
  if (room < 4) return;
  if (length > room - 4) length = room - 4;
  frame_u32((uint32_t)length);
  frame_bytes(text, length);
}

void frame_end(void) {
  uint32_t payload = (uint32_t)(frame_length - SNOWGLOBE_HEADER_SIZE);
  memcpy(frame, &payload, sizeof payload);
  port_send(frame, frame_length);
}

void send_ok(uint32_t id) {
  frame_begin(id, SNOWGLOBE_OK);
  frame_end();
}

/* vsnprintf, with the length that was really written. */
static size_t format_text(char* text, size_t size, const char* format, va_list arguments) {
  int length = vsnprintf(text, size, format, arguments);
  if (length < 0) return 0;
  return (size_t)length < size ? (size_t)length : size - 1;
}

void send_error(uint32_t id, int error, const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  size_t length = format_text(text, sizeof text, format, arguments);
  va_end(arguments);
  frame_begin(id, SNOWGLOBE_ERROR);
  frame_u32((uint32_t)error);
  frame_string(text, length);
  frame_end();
}

void send_outcome(uint32_t id, bool done, const char* what) {
  if (done) {
    send_ok(id);
  } else {
    send_error(id, errno, "%s: %s", what, strerror(errno));
  }
}

void send_text(enum snowglobe_type event, const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  size_t length = format_text(text, sizeof text, format, arguments);
  va_end(arguments);
  frame_begin(0, event);
  frame_string(text, length);
  frame_end();
}
