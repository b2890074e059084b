/* tests/api/c_api_test.c - snowglobe.h from plain C11, against the shared library. */
#define _POSIX_C_SOURCE 200809L /* mkdtemp */
#include <snowglobe.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int failures = 0;

#define CHECK(condition)                                                                       \
  do {                                                                                         \
    if (!(condition)) {                                                                        \
      ++failures;                                                                              \
      fprintf(stderr, "%s:%d: %s (%s)\n", __FILE__, __LINE__, #condition,                      \
              snowglobe_error_message());                                                      \
    }                                                                                          \
  } while (0)

/* Every function takes null, and says so where it needs an object. */
static void null_is_safe(void) {
  snowglobe_database *database = (snowglobe_database *)1;
  snowglobe_result *result = (snowglobe_result *)1;
  snowglobe_snapshot *snapshot = NULL;
  snowglobe_snapshot_list *list = NULL;
  snowglobe_session *session = NULL;
  snowglobe_endpoint *endpoint = NULL;
  char *string = NULL;
  int64_t number = 7;
  double real = 7;
  int flag = 7;
  size_t size = 7;
  CHECK(snowglobe_open_in_memory(NULL, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_open(NULL, NULL, &database) == SNOWGLOBE_INVALID_ARGUMENT && database == NULL);
  database = (snowglobe_database *)1;
  CHECK(snowglobe_query(NULL, "select 1", NULL, 0, &result) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(result == NULL);
  CHECK(strstr(snowglobe_error_message(), "null") != NULL);
  CHECK(snowglobe_script(NULL, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_session_open(NULL, &session) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_session_query(NULL, NULL, NULL, 3, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_session_script(NULL, "select 1") == SNOWGLOBE_INVALID_ARGUMENT);
  snowglobe_session_cancel(NULL);
  snowglobe_session_close(NULL);
  CHECK(snowglobe_conninfo(NULL, &string) == SNOWGLOBE_INVALID_ARGUMENT && string == NULL);
  snowglobe_string_free(NULL);
  CHECK(snowglobe_result_rows(NULL) == 0 && snowglobe_result_columns(NULL) == 0);
  CHECK(snowglobe_result_affected(NULL) == 0 && snowglobe_column_type(NULL, 0) == 0);
  CHECK(*snowglobe_result_command(NULL) == '\0' && *snowglobe_column_name(NULL, 0) == '\0');
  CHECK(snowglobe_result_is_null(NULL, 0, 0) == 1 && snowglobe_result_size(NULL, 0, 0) == 0);
  CHECK(*snowglobe_result_text(NULL, 0, 0) == '\0');
  CHECK(snowglobe_result_int64(NULL, 0, 0, &number) == SNOWGLOBE_INVALID_ARGUMENT && number == 0);
  CHECK(snowglobe_result_double(NULL, 0, 0, &real) == SNOWGLOBE_INVALID_ARGUMENT && real == 0);
  CHECK(snowglobe_result_bool(NULL, 0, 0, &flag) == SNOWGLOBE_INVALID_ARGUMENT && flag == 0);
  CHECK(snowglobe_result_bool(NULL, 0, 0, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_result_bytes(NULL, 0, 0, NULL, 0, &size) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(size == 0);
  snowglobe_result_free(NULL);
  CHECK(snowglobe_save(NULL, "x", &snapshot) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_restore(NULL, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_restore_named(NULL, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_fork(NULL, NULL, &database) == SNOWGLOBE_INVALID_ARGUMENT && database == NULL);
  CHECK(snowglobe_forget(NULL, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_snapshots(NULL, &list) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_snapshot_list_size(NULL) == 0 && snowglobe_snapshot_list_at(NULL, 0) == NULL);
  snowglobe_snapshot_list_free(NULL);
  CHECK(*snowglobe_snapshot_id(NULL) == '\0' && *snowglobe_snapshot_name(NULL) == '\0');
  CHECK(snowglobe_snapshot_time_ms(NULL) == 0);
  snowglobe_snapshot_free(NULL);
  CHECK(snowglobe_expose(NULL, NULL, 0, &endpoint) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_hide(NULL, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(*snowglobe_endpoint_uri(NULL) == '\0' && *snowglobe_endpoint_host(NULL) == '\0');
  CHECK(*snowglobe_endpoint_user(NULL) == '\0' && *snowglobe_endpoint_password(NULL) == '\0');
  CHECK(snowglobe_endpoint_port(NULL) == 0);
  snowglobe_endpoint_free(NULL);
  snowglobe_options_init(NULL);
  snowglobe_close(NULL);
  CHECK(strcmp(snowglobe_version(), "0") > 0);
  CHECK(strcmp(snowglobe_code_name(SNOWGLOBE_SQL), "SQL error") == 0);
  CHECK(strcmp(snowglobe_code_name(SNOWGLOBE_ADDRESS_IN_USE), "address is in use") == 0);
  CHECK(strcmp(snowglobe_code_name(4711), "unknown error") == 0);
  CHECK(strcmp(snowglobe_code_name(-1), "unknown error") == 0);
}

/* What is registered is used, and what is wrong with it is said by the open. */
static void images_in_the_program(void) {
  const snowglobe_embedded_file noise[] = {{"manifest.json", "no JSON at all", 14}};
  const snowglobe_embedded_file nothing[] = {{NULL, NULL, 0}};
  snowglobe_database *database = NULL;
  CHECK(snowglobe_register_image(NULL, 1) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_register_image(nothing, 1) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_register_image(noise, 1) == SNOWGLOBE_OK);
  if (getenv("SNOWGLOBE_IMAGE") == NULL && getenv("SNOWGLOBE_IMAGE_PATH") == NULL) {
    CHECK(snowglobe_open_in_memory(NULL, &database) == SNOWGLOBE_IMAGE);
    CHECK(strstr(snowglobe_error_message(), "is not a JSON object") != NULL);
  }
  CHECK(snowglobe_register_image(NULL, 0) == SNOWGLOBE_OK);
}

static void bad_options_are_refused(void) {
  snowglobe_database *database = NULL;
  snowglobe_options options;
  memset(&options, 0, sizeof options);
  CHECK(snowglobe_open_in_memory(&options, &database) == SNOWGLOBE_INVALID_ARGUMENT);
  snowglobe_options_init(&options);
  options.executor = "abacus";
  CHECK(snowglobe_open_in_memory(&options, &database) == SNOWGLOBE_INVALID_ARGUMENT);
  options.executor = NULL;
  options.image = "/nowhere";
  CHECK(snowglobe_open_in_memory(&options, &database) == SNOWGLOBE_IMAGE);
  CHECK(strstr(snowglobe_error_message(), "/nowhere") != NULL);
  CHECK(database == NULL);
}

static int64_t number(snowglobe_database *database, const char *sql) {
  snowglobe_result *result = NULL;
  int64_t value = -1;
  CHECK(snowglobe_query(database, sql, NULL, 0, &result) == SNOWGLOBE_OK);
  CHECK(snowglobe_result_int64(result, 0, 0, &value) == SNOWGLOBE_OK);
  snowglobe_result_free(result);
  return value;
}

static void values_come_back(snowglobe_database *database) {
  const snowglobe_value values[] = {{"42", SNOWGLOBE_TERMINATED, 0},
                                    {NULL, 0, 0},
                                    {"\0\1\377", 3, 1},
                                    {"text and more", 4, 0}};
  snowglobe_result *result = NULL;
  int64_t integer = 0;
  double real = 0;
  int flag = 0;
  unsigned char bytes[3];
  size_t size = 0;
  CHECK(snowglobe_query(database, "select $1::int as n, $2::int, $3, $4::text, 1.5, true", values, 4,
                        &result) == SNOWGLOBE_OK);
  CHECK(snowglobe_result_rows(result) == 1 && snowglobe_result_columns(result) == 6);
  CHECK(strcmp(snowglobe_column_name(result, 0), "n") == 0 && snowglobe_column_type(result, 0) == 23);
  CHECK(snowglobe_result_int64(result, 0, 0, &integer) == SNOWGLOBE_OK && integer == 42);
  CHECK(snowglobe_result_is_null(result, 0, 1) == 1);
  CHECK(snowglobe_result_int64(result, 0, 1, &integer) == SNOWGLOBE_CONVERSION && integer == 0);
  CHECK(snowglobe_result_bytes(result, 0, 2, NULL, 0, &size) == SNOWGLOBE_OK && size == 3);
  CHECK(snowglobe_result_bytes(result, 0, 2, bytes, 2, &size) == SNOWGLOBE_OK && size == 3);
  CHECK(bytes[0] == 0 && bytes[1] == 1);
  CHECK(strcmp(snowglobe_result_text(result, 0, 3), "text") == 0);
  CHECK(snowglobe_result_size(result, 0, 3) == 4);
  CHECK(snowglobe_result_double(result, 0, 4, &real) == SNOWGLOBE_OK && real == 1.5);
  CHECK(snowglobe_result_bool(result, 0, 5, &flag) == SNOWGLOBE_OK && flag == 1);
  CHECK(snowglobe_result_int64(result, 7, 0, &integer) == SNOWGLOBE_INVALID_ARGUMENT);
  snowglobe_result_free(result);
  CHECK(snowglobe_query(database, "select 1/0", NULL, 0, NULL) == SNOWGLOBE_SQL);
  CHECK(strcmp(snowglobe_error_sqlstate(), "22012") == 0);
}

static void sessions_have_transactions(snowglobe_database *database) {
  snowglobe_session *session = NULL;
  snowglobe_result *result = NULL;
  CHECK(snowglobe_script(database, "create table t(i int); insert into t values (1)") == 0);
  CHECK(snowglobe_session_open(database, &session) == SNOWGLOBE_OK);
  CHECK(snowglobe_session_script(session, "begin; delete from t") == SNOWGLOBE_OK);
  CHECK(snowglobe_session_query(session, "insert into t values (2), (3)", NULL, 0, &result) == 0);
  CHECK(snowglobe_result_affected(result) == 2);
  CHECK(strcmp(snowglobe_result_command(result), "INSERT 0 2") == 0);
  CHECK(number(database, "select count(*) from t") == 1);
  snowglobe_session_cancel(session);
  CHECK(snowglobe_session_script(session, "commit") == SNOWGLOBE_OK);
  CHECK(number(database, "select count(*) from t") == 2);
  snowglobe_session_close(session);
  snowglobe_result_free(result);
}

static void machines_are_values(snowglobe_database *database) {
  snowglobe_snapshot *snapshot = NULL;
  snowglobe_snapshot_list *list = NULL;
  snowglobe_database *other = NULL;
  CHECK(snowglobe_save(database, "before", &snapshot) == SNOWGLOBE_OK);
  CHECK(strlen(snowglobe_snapshot_id(snapshot)) == 32);
  CHECK(snowglobe_snapshot_time_ms(snapshot) > 0);
  CHECK(snowglobe_save(database, NULL, NULL) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_script(database, "drop table t") == SNOWGLOBE_OK);
  CHECK(snowglobe_restore(database, snapshot) == SNOWGLOBE_OK);
  CHECK(number(database, "select count(*) from t") == 2);
  CHECK(snowglobe_restore_named(database, "before") == SNOWGLOBE_OK);
  CHECK(snowglobe_restore_named(database, "never") == SNOWGLOBE_SNAPSHOT_NOT_FOUND);
  CHECK(snowglobe_snapshots(database, &list) == SNOWGLOBE_OK);
  CHECK(snowglobe_snapshot_list_size(list) == 1 && snowglobe_snapshot_list_at(list, 1) == NULL);
  CHECK(strcmp(snowglobe_snapshot_name(snowglobe_snapshot_list_at(list, 0)), "before") == 0);
  snowglobe_snapshot_list_free(list);
  CHECK(snowglobe_fork(database, snapshot, &other) == SNOWGLOBE_OK);
  CHECK(snowglobe_script(other, "insert into t values (9)") == SNOWGLOBE_OK);
  CHECK(number(other, "select count(*) from t") == 3);
  CHECK(number(database, "select count(*) from t") == 2);
  snowglobe_close(other);
  CHECK(snowglobe_forget(database, snapshot) == SNOWGLOBE_OK);
  snowglobe_snapshot_free(snapshot);
}

static void programs_outside_are_let_in(snowglobe_database *database) {
  snowglobe_endpoint *endpoint = NULL;
  char *conninfo = NULL;
  CHECK(snowglobe_expose(database, NULL, 0, &endpoint) == SNOWGLOBE_OK);
  CHECK(strncmp(snowglobe_endpoint_uri(endpoint), "postgresql://postgres:", 22) == 0);
  CHECK(strcmp(snowglobe_endpoint_host(endpoint), "127.0.0.1") == 0);
  CHECK(snowglobe_endpoint_port(endpoint) != 0);
  CHECK(strlen(snowglobe_endpoint_password(endpoint)) == 24);
  CHECK(strcmp(snowglobe_endpoint_user(endpoint), "postgres") == 0);
  CHECK(snowglobe_hide(database, endpoint) == SNOWGLOBE_OK);
  CHECK(snowglobe_hide(database, NULL) == SNOWGLOBE_OK);
  snowglobe_endpoint_free(endpoint);
  CHECK(snowglobe_expose(database, "here", 0, &endpoint) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_expose(database, "192.0.2.1", 0, &endpoint) == SNOWGLOBE_ADDRESS);
  CHECK(snowglobe_conninfo(database, &conninfo) == SNOWGLOBE_OK && strstr(conninfo, "host=") != NULL);
  snowglobe_string_free(conninfo);
}

/* What was committed is there again. */
static void folders_keep_their_database(void) {
  char path[] = "/tmp/snowglobe-c-XXXXXX";
  char folder[sizeof path + 8];
  char remove[sizeof folder + 16];
  snowglobe_database *database = NULL;
  snowglobe_database *second = NULL;
  snowglobe_options options;
  snowglobe_options_init(&options);
  CHECK(mkdtemp(path) != NULL);
  snprintf(folder, sizeof folder, "%s/c.globe", path);
  options.create = SNOWGLOBE_CREATE_NEVER;
  CHECK(snowglobe_open(folder, &options, &database) == SNOWGLOBE_DATABASE_NOT_FOUND);
  options.create = 77;
  CHECK(snowglobe_open(folder, &options, &database) == SNOWGLOBE_INVALID_ARGUMENT);
  CHECK(snowglobe_open(folder, NULL, &database) == SNOWGLOBE_OK);
  CHECK(snowglobe_script(database, "create table kept(i int); insert into kept values (7)") == 0);
  CHECK(snowglobe_open(folder, NULL, &second) == SNOWGLOBE_DATABASE_LOCKED && second == NULL);
  snowglobe_close(database);
  options.create = SNOWGLOBE_CREATE_ALWAYS;
  CHECK(snowglobe_open(folder, &options, &second) == SNOWGLOBE_DATABASE_EXISTS);
  CHECK(snowglobe_open(folder, NULL, &database) == SNOWGLOBE_OK);
  CHECK(number(database, "select i from kept") == 7);
  snowglobe_close(database);
  snprintf(remove, sizeof remove, "rm -r '%s'", path);
  CHECK(system(remove) == 0);
}

int main(int count, char **arguments) {
  snowglobe_database *database = NULL;
  snowglobe_session *session = NULL;
  null_is_safe();
  images_in_the_program();
  bad_options_are_refused();
  if (count > 1 && strcmp(arguments[1], "--without-machine") == 0) return failures != 0;
  if (snowglobe_open_in_memory(NULL, &database) != SNOWGLOBE_OK) {
    fprintf(stderr, "open: %s\n", snowglobe_error_message());
    return 1;
  }
  values_come_back(database);
  sessions_have_transactions(database);
  machines_are_values(database);
  programs_outside_are_let_in(database);
  CHECK(snowglobe_session_open(database, &session) == SNOWGLOBE_OK);
  snowglobe_close(database);
  CHECK(snowglobe_session_script(session, "select 1") == SNOWGLOBE_CONNECTION_LOST);
  snowglobe_session_close(session);
  folders_keep_their_database();
  if (failures == 0) puts("all checks hold");
  return failures != 0;
}
