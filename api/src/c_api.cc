// api/src/c_api.cc - snowglobe.h over the C++ face: handles, and exceptions as codes.
#include <snowglobe/snowglobe.hpp>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <optional>
#include <snowglobe.h>
#include <string>
#include <vector>

struct snowglobe_database {
  snowglobe::Database value;
};
struct snowglobe_session {
  snowglobe::Session value;
};
struct snowglobe_result {
  snowglobe::Result value;
};
struct snowglobe_snapshot {
  snowglobe::Snapshot value;
};
struct snowglobe_snapshot_list {
  std::vector<snowglobe_snapshot> value;
};
struct snowglobe_endpoint {
  snowglobe::Endpoint value;
  std::string uri;
};

namespace {

static_assert(SNOWGLOBE_INVALID_ARGUMENT == static_cast<int>(snowglobe::Errc::invalid_argument));
static_assert(SNOWGLOBE_DISK_FAILED == static_cast<int>(snowglobe::Errc::disk_failed));
static_assert(SNOWGLOBE_INTERNAL == static_cast<int>(snowglobe::Errc::internal));
static_assert(SNOWGLOBE_PIPELINE_ABORTED == static_cast<int>(snowglobe::Errc::pipeline_aborted));
static_assert(SNOWGLOBE_ADDRESS_IN_USE == static_cast<int>(snowglobe::Errc::address_in_use));
constexpr std::size_t kCodes = SNOWGLOBE_ADDRESS_IN_USE + 1;

struct LastError {
  std::string message, sqlstate, detail, hint;
};

LastError& last_error() {
  thread_local LastError error;
  return error;
}

int fail(int code, const char* message) noexcept {
  try {
    last_error() = {message, {}, {}, {}};
  } catch (...) {
    // No memory for words: the code must do.
  }
  return code;
}

int fail_sql(const snowglobe::SqlError& error) noexcept {
  try {
    last_error() = {error.what(), std::string(error.sqlstate()), std::string(error.detail()),
                    std::string(error.hint())};
  } catch (...) {
    // As above.
  }
  return SNOWGLOBE_SQL;
}

/// Runs `work`, and makes a code of what it throws.
template <class Work>
int guarded(const Work& work) noexcept {
  try {
    work();
    return SNOWGLOBE_OK;
  } catch (const snowglobe::SqlError& error) {
    return fail_sql(error);
  } catch (const snowglobe::Error& error) {
    return fail(error.code().value(), error.what());
  } catch (const std::bad_alloc&) {
    return fail(SNOWGLOBE_RESOURCE_EXHAUSTED, "out of memory");
  } catch (const std::exception& error) {
    return fail(SNOWGLOBE_INTERNAL, error.what());
  } catch (...) {
    return fail(SNOWGLOBE_INTERNAL, "an unknown exception");
  }
}

template <class T>
T& required(T* pointer, const char* what) {
  if (pointer == nullptr) throw snowglobe::InvalidArgument(std::string(what) + " is null");
  return *pointer;
}

snowglobe::Options options_of(const snowglobe_options* given) {
  snowglobe_options wanted;
  snowglobe_options_init(&wanted);
  if (given != nullptr) {
    // A program that was built with an older header knows fewer members.
    if (given->size < offsetof(snowglobe_options, image) || given->size > sizeof wanted * 16) {
      throw snowglobe::InvalidArgument(
          "snowglobe_options::size is not set: begin with "
          "snowglobe_options_init()");
    }
    std::memcpy(&wanted, given, std::min(given->size, sizeof wanted));
  }
  snowglobe::Options options;
  if (wanted.image != nullptr) options.image = wanted.image;
  if (wanted.memory_mb != 0) options.memory_mb = wanted.memory_mb;
  if (wanted.executor != nullptr) {
    const std::string executor = wanted.executor;
    if (executor != "translator" && executor != "interpreter") {
      throw snowglobe::InvalidArgument("snowglobe_options::executor is '" + executor +
                                       "', not \"translator\" or \"interpreter\"");
    }
    options.executor = executor == "translator" ? snowglobe::Executor::translator
                                                : snowglobe::Executor::interpreter;
  }
  using std::chrono::milliseconds;
  if (wanted.boot_limit_ms != 0) options.boot_limit = milliseconds(wanted.boot_limit_ms);
  if (wanted.statement_limit_ms != 0) {
    options.statement_limit = milliseconds(wanted.statement_limit_ms);
  }
  if (wanted.pool_size != 0) options.pool_size = wanted.pool_size;
  switch (wanted.create) {
    case SNOWGLOBE_CREATE_IF_MISSING:
      break;
    case SNOWGLOBE_CREATE_NEVER:
      options.create = snowglobe::Create::never;
      break;
    case SNOWGLOBE_CREATE_ALWAYS:
      options.create = snowglobe::Create::always;
      break;
    default:
      throw snowglobe::InvalidArgument("snowglobe_options::create is none of snowglobe_create");
  }
  options.read_only = wanted.read_only != 0;
  return options;
}

snowglobe::Parameter parameter_of(const snowglobe_value& value) {
  if (value.data == nullptr) return nullptr;
  const std::size_t size =
      value.size == SNOWGLOBE_TERMINATED ? std::strlen(value.data) : value.size;
  if (value.is_bytes == 0) return std::string_view(value.data, size);
  return snowglobe::BytesView(static_cast<const std::byte*>(static_cast<const void*>(value.data)),
                              size);
}

/// On a Database or a Session.
template <class Handle>
int run(Handle* handle, const char* sql, const snowglobe_value* values, std::size_t count,
        snowglobe_result** out) {
  if (out != nullptr) *out = nullptr;
  return guarded([&] {
    auto& target = required(handle, "the database or session");
    (void)required(sql, "the statement");
    if (count > 0) (void)required(values, "the array of values");
    std::vector<snowglobe::Parameter> parameters;
    parameters.reserve(std::min<std::size_t>(count, 1000));
    for (std::size_t i = 0; i < count; ++i)
      parameters.push_back(parameter_of(values[i]));
    snowglobe::Result result = target.value.query_with(sql, parameters);
    if (out != nullptr) *out = new snowglobe_result{std::move(result)};
  });
}

template <class Handle>
int run_script(Handle* handle, const char* sql) {
  return guarded([&] {
    required(handle, "the database or session").value.script(&required(sql, "the script"));
  });
}

bool is_there(const snowglobe_result* result, std::size_t row, std::size_t column) {
  return result != nullptr && row < result->value.size() && column < result->value.columns().size();
}

template <class T>
int value_of(const snowglobe_result* result, std::size_t row, std::size_t column, T* out) {
  if (out != nullptr) *out = T{};
  return guarded([&] {
    required(out, "the out pointer") =
        required(result, "the result").value.template get<T>(row, column);
  });
}

/// A new handle for what `make` gives.
template <class Handle, class Make>
int produce(Handle** out, const Make& make) {
  if (out != nullptr) *out = nullptr;
  return guarded([&] {
    (void)required(out, "the out pointer");
    *out = new Handle{make()};
  });
}

}  // namespace

// The names are C's.
// NOLINTBEGIN(readability-identifier-naming)

const char* snowglobe_version(void) {
  return snowglobe::library_version().data();  // a literal
}

const char* snowglobe_code_name(int code) {
  static const std::array<std::string, kCodes> names = [] {
    std::array<std::string, kCodes> all;
    for (std::size_t i = 0; i < all.size(); ++i)
      all[i] = i == 0 ? "ok" : snowglobe::error_category().message(static_cast<int>(i));
    return all;
  }();
  return code < 0 || code >= static_cast<int>(kCodes)
             ? "unknown error"
             : names[static_cast<std::size_t>(code)].c_str();
}

const char* snowglobe_error_message(void) {
  return last_error().message.c_str();
}
const char* snowglobe_error_sqlstate(void) {
  return last_error().sqlstate.c_str();
}
const char* snowglobe_error_detail(void) {
  return last_error().detail.c_str();
}
const char* snowglobe_error_hint(void) {
  return last_error().hint.c_str();
}

void snowglobe_options_init(snowglobe_options* options) {
  if (options == nullptr) return;
  *options = snowglobe_options{};
  options->size = sizeof *options;
}

int snowglobe_register_image(const snowglobe_embedded_file* files, size_t count) {
  return guarded([&] {
    if (count > 0) (void)required(files, "the array of files");
    std::vector<snowglobe::EmbeddedFile> image;
    for (std::size_t i = 0; i < count; ++i) {
      const snowglobe_embedded_file& file = files[i];
      const auto* data =
          &(required(static_cast<const std::byte*>(file.data), "the data of a file"));
      image.push_back({&required(file.name, "the name of a file"), {data, file.size}});
    }
    snowglobe::register_image(image);
  });
}

int snowglobe_open_in_memory(const snowglobe_options* options, snowglobe_database** out) {
  return produce(out, [&] { return snowglobe::Database::open_in_memory(options_of(options)); });
}

int snowglobe_open(const char* path, const snowglobe_options* options, snowglobe_database** out) {
  return produce(out, [&] {
    return snowglobe::Database::open(&required(path, "the path"), options_of(options));
  });
}

void snowglobe_close(snowglobe_database* database) {
  if (database != nullptr) database->value.close();
  delete database;
}

int snowglobe_conninfo(snowglobe_database* database, char** out) {
  if (out != nullptr) *out = nullptr;
  return guarded([&] {
    const std::string text = required(database, "the database").value.conninfo();
    required(out, "the out pointer") = ::strdup(text.c_str());
    if (*out == nullptr) throw std::bad_alloc();
  });
}

void snowglobe_string_free(char* string) {
  std::free(string);
}

int snowglobe_query(snowglobe_database* database, const char* sql, const snowglobe_value* values,
                    size_t count, snowglobe_result** out) {
  return run(database, sql, values, count, out);
}

int snowglobe_script(snowglobe_database* database, const char* sql) {
  return run_script(database, sql);
}

int snowglobe_session_open(snowglobe_database* database, snowglobe_session** out) {
  return produce(out, [&] { return required(database, "the database").value.session(); });
}

int snowglobe_session_query(snowglobe_session* session, const char* sql,
                            const snowglobe_value* values, size_t count, snowglobe_result** out) {
  return run(session, sql, values, count, out);
}

int snowglobe_session_script(snowglobe_session* session, const char* sql) {
  return run_script(session, sql);
}

void snowglobe_session_cancel(snowglobe_session* session) {
  if (session != nullptr) session->value.cancel();
}

void snowglobe_session_close(snowglobe_session* session) {
  delete session;
}

size_t snowglobe_result_rows(const snowglobe_result* result) {
  return result == nullptr ? 0 : result->value.size();
}
size_t snowglobe_result_columns(const snowglobe_result* result) {
  return result == nullptr ? 0 : result->value.columns().size();
}
uint64_t snowglobe_result_affected(const snowglobe_result* result) {
  return result == nullptr ? 0 : result->value.affected();
}
const char* snowglobe_result_command(const snowglobe_result* result) {
  return result == nullptr ? "" : result->value.command().data();  // libpq's, with its NUL
}
const char* snowglobe_column_name(const snowglobe_result* result, size_t column) {
  if (column >= snowglobe_result_columns(result)) return "";
  return result->value.columns()[column].name.c_str();
}
uint32_t snowglobe_column_type(const snowglobe_result* result, size_t column) {
  if (column >= snowglobe_result_columns(result)) return 0;
  return result->value.columns()[column].type_oid;
}
int snowglobe_result_is_null(const snowglobe_result* result, size_t row, size_t column) {
  return !is_there(result, row, column) || !result->value.text(row, column) ? 1 : 0;
}
const char* snowglobe_result_text(const snowglobe_result* result, size_t row, size_t column) {
  if (snowglobe_result_is_null(result, row, column) != 0) return "";
  return result->value.text(row, column)->data();  // libpq's, with its NUL
}
size_t snowglobe_result_size(const snowglobe_result* result, size_t row, size_t column) {
  if (snowglobe_result_is_null(result, row, column) != 0) return 0;
  return result->value.text(row, column)->size();
}

int snowglobe_result_int64(const snowglobe_result* result, size_t row, size_t column,
                           int64_t* out) {
  return value_of(result, row, column, out);
}
int snowglobe_result_double(const snowglobe_result* result, size_t row, size_t column,
                            double* out) {
  return value_of(result, row, column, out);
}
int snowglobe_result_bool(const snowglobe_result* result, size_t row, size_t column, int* out) {
  bool value = false;
  const int code = value_of(result, row, column, &value);
  if (out == nullptr) return fail(SNOWGLOBE_INVALID_ARGUMENT, "the out pointer is null");
  *out = value ? 1 : 0;
  return code;
}
int snowglobe_result_bytes(const snowglobe_result* result, size_t row, size_t column, void* buffer,
                           size_t capacity, size_t* size) {
  if (size != nullptr) *size = 0;
  return guarded([&] {
    const auto bytes = required(result, "the result").value.get<snowglobe::Bytes>(row, column);
    if (capacity > 0) (void)required(static_cast<char*>(buffer), "the buffer");
    const std::size_t copied = std::min(capacity, bytes.size());
    if (copied > 0) std::memcpy(buffer, bytes.data(), copied);
    if (size != nullptr) *size = bytes.size();
  });
}

void snowglobe_result_free(snowglobe_result* result) {
  delete result;
}

int snowglobe_save(snowglobe_database* database, const char* name, snowglobe_snapshot** out) {
  if (out != nullptr) *out = nullptr;
  return guarded([&] {
    auto& value = required(database, "the database").value;
    if (out == nullptr && (name == nullptr || *name == '\0')) {
      throw snowglobe::InvalidArgument("a snapshot without a name needs an out pointer");
    }
    snowglobe::Snapshot snapshot = value.save(name == nullptr ? "" : name);
    if (out != nullptr) *out = new snowglobe_snapshot{std::move(snapshot)};
  });
}

int snowglobe_restore(snowglobe_database* database, const snowglobe_snapshot* snapshot) {
  return guarded([&] {
    required(database, "the database").value.restore(required(snapshot, "the snapshot").value);
  });
}

int snowglobe_restore_named(snowglobe_database* database, const char* which) {
  return guarded([&] {
    required(database, "the database")
        .value.restore(std::string_view(&required(which, "the name")));
  });
}

int snowglobe_fork(snowglobe_database* database, const snowglobe_snapshot* snapshot,
                   snowglobe_database** out) {
  return produce(out, [&] {
    auto& value = required(database, "the database").value;
    return snapshot == nullptr ? value.fork() : value.fork(snapshot->value);
  });
}

int snowglobe_forget(snowglobe_database* database, const snowglobe_snapshot* snapshot) {
  return guarded([&] {
    required(database, "the database").value.forget(required(snapshot, "the snapshot").value);
  });
}

int snowglobe_snapshots(snowglobe_database* database, snowglobe_snapshot_list** out) {
  return produce(out, [&] {
    std::vector<snowglobe_snapshot> list;
    for (snowglobe::Snapshot& snapshot : required(database, "the database").value.snapshots())
      list.push_back({std::move(snapshot)});
    return list;
  });
}

size_t snowglobe_snapshot_list_size(const snowglobe_snapshot_list* list) {
  return list == nullptr ? 0 : list->value.size();
}
const snowglobe_snapshot* snowglobe_snapshot_list_at(const snowglobe_snapshot_list* list,
                                                     size_t index) {
  return index < snowglobe_snapshot_list_size(list) ? &list->value[index] : nullptr;
}
void snowglobe_snapshot_list_free(snowglobe_snapshot_list* list) {
  delete list;
}

const char* snowglobe_snapshot_id(const snowglobe_snapshot* snapshot) {
  return snapshot == nullptr ? "" : snapshot->value.id().c_str();
}
const char* snowglobe_snapshot_name(const snowglobe_snapshot* snapshot) {
  return snapshot == nullptr ? "" : snapshot->value.name().c_str();
}
int64_t snowglobe_snapshot_time_ms(const snowglobe_snapshot* snapshot) {
  if (snapshot == nullptr) return 0;
  return std::chrono::floor<std::chrono::milliseconds>(snapshot->value.time())
      .time_since_epoch()
      .count();
}
void snowglobe_snapshot_free(snowglobe_snapshot* snapshot) {
  delete snapshot;
}

int snowglobe_expose(snowglobe_database* database, const char* address, uint16_t port,
                     snowglobe_endpoint** out) {
  if (out != nullptr) *out = nullptr;
  return guarded([&] {
    auto& value = required(database, "the database").value;
    (void)required(out, "the out pointer");
    snowglobe::ExposeOptions options;
    if (address != nullptr) options.address = address;
    options.port = port;
    snowglobe::Endpoint endpoint = value.expose(options);
    std::string uri = endpoint.uri();
    *out = new snowglobe_endpoint{std::move(endpoint), std::move(uri)};
  });
}

int snowglobe_hide(snowglobe_database* database, const snowglobe_endpoint* endpoint) {
  return guarded([&] {
    auto& value = required(database, "the database").value;
    if (endpoint == nullptr) {
      value.hide();
    } else {
      value.hide(endpoint->value);
    }
  });
}

const char* snowglobe_endpoint_uri(const snowglobe_endpoint* endpoint) {
  return endpoint == nullptr ? "" : endpoint->uri.c_str();
}
const char* snowglobe_endpoint_host(const snowglobe_endpoint* endpoint) {
  return endpoint == nullptr ? "" : endpoint->value.host().c_str();
}
uint16_t snowglobe_endpoint_port(const snowglobe_endpoint* endpoint) {
  return endpoint == nullptr ? std::uint16_t{0} : endpoint->value.port();
}
const char* snowglobe_endpoint_user(const snowglobe_endpoint* endpoint) {
  return endpoint == nullptr ? "" : endpoint->value.user().c_str();
}
const char* snowglobe_endpoint_password(const snowglobe_endpoint* endpoint) {
  return endpoint == nullptr ? "" : endpoint->value.password().c_str();
}
void snowglobe_endpoint_free(snowglobe_endpoint* endpoint) {
  delete endpoint;
}

// NOLINTEND(readability-identifier-naming)
