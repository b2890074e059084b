/* guest/agent/requests.c - which request a frame belongs to, and who serves it. */
#include "agent.h"

#include <errno.h>
#include <stdlib.h>

struct request requests[SNOWGLOBE_MAX_OPEN];

struct request* request_find(uint32_t id) {
  for (size_t i = 0; i < SNOWGLOBE_MAX_OPEN; i++) {
    if (requests[i].kind != FREE_SLOT && requests[i].id == id) return &requests[i];
  }
  return NULL;
}

struct request* request_open(uint32_t id, enum request_kind kind) {
  for (size_t i = 0; i < SNOWGLOBE_MAX_OPEN; i++) {
    if (requests[i].kind != FREE_SLOT) continue;
    requests[i] = (struct request){.kind = kind, .id = id};
    return &requests[i];
  }
  send_error(id, EAGAIN, "%u requests are open already", SNOWGLOBE_MAX_OPEN);
  return NULL;
}

void request_close(struct request* request) { request->kind = FREE_SLOT; }

static void open_request(uint32_t id, uint16_t type, const uint8_t* payload, size_t length) {
  struct reader reader = wire_reader(payload, length);
  switch (type) {
    case SNOWGLOBE_PING:
      frame_begin(id, SNOWGLOBE_OK);
      frame_bytes(payload, length);
      frame_end();
      break;
    case SNOWGLOBE_EXEC: exec_start(id, &reader); break;
    case SNOWGLOBE_PUT: put_start(id, &reader); break;
    case SNOWGLOBE_GET: get_start(id, &reader); break;
    case SNOWGLOBE_SET_CLOCK: resume_set_clock(id, &reader); break;
    case SNOWGLOBE_RESEED: resume_reseed(id, &reader); break;
    case SNOWGLOBE_START_POSTGRES: postgres_request_start(id, &reader); break;
    case SNOWGLOBE_STOP_POSTGRES: postgres_request_stop(id, &reader); break;
    case SNOWGLOBE_QUIESCE: machine_quiesce(id, &reader); break;
    case SNOWGLOBE_SHUTDOWN: machine_request_shutdown(id, &reader); break;
    case SNOWGLOBE_SET_ADDRESS: machine_set_address(id, &reader); break;
    case SNOWGLOBE_RESUME: resume_request(id, &reader); break;
    case SNOWGLOBE_CANCEL_STATEMENT: postgres_request_cancel(id, &reader); break;
    case SNOWGLOBE_MOUNT_DATA: data_request_mount(id, &reader); break;
    case SNOWGLOBE_UNMOUNT_DATA: data_request_unmount(id, &reader); break;
    case SNOWGLOBE_DISK_LIMIT: data_request_limit(id, &reader); break;
    default: send_error(id, EPROTO, "a frame of unknown type %u", type);
  }
}

void request_frame(uint32_t id, uint16_t type, uint16_t zero, const uint8_t* payload,
                   size_t length) {
  struct request* request = request_find(id);
  bool continuation = type >= SNOWGLOBE_STDIN && type < SNOWGLOBE_OK;
  if (id == 0) {
    send_error(id, EPROTO, "a request with the id of events, 0");
  } else if (zero != 0) {
    send_error(id, EPROTO, "the header's last field is %u, not 0", zero);
  } else if (!continuation && request) {
    send_error(id, EPROTO, "request %u is open already", id);
  } else if (!continuation) {
    open_request(id, type, payload, length);
  } else if (request) {
    switch (request->kind) {
      case EXEC_REQUEST: exec_continue(request, type, payload, length); break;
      case PUT_REQUEST: put_continue(request, type, payload, length); break;
      case GET_REQUEST: get_continue(request, type); break;
      case FREE_SLOT: break;
    }
  }
}
