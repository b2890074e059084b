/* snowglobe.h - PostgreSQL inside your process, for C and for languages that call C.
 *
 *   snowglobe_database *db = NULL;
 *   snowglobe_result *result = NULL;
 *   if (snowglobe_open_in_memory(NULL, &db) != SNOWGLOBE_OK ||
 *       snowglobe_query(db, "select 6 * 7", NULL, 0, &result) != SNOWGLOBE_OK) {
 *     fprintf(stderr, "%s\n", snowglobe_error_message());
 *   } else {
 *     puts(snowglobe_result_text(result, 0, 0));
 *   }
 *   snowglobe_result_free(result);
 *   snowglobe_close(db);
 *
 * Errors: what can fail returns SNOWGLOBE_OK (0) or one of snowglobe_code.
 * snowglobe_error_message() and its kin say more about the last call of this thread that failed. No
 * exception comes out.
 *
 * Null pointers: every function takes them. Where an object is needed the call fails with
 * SNOWGLOBE_INVALID_ARGUMENT (getters give 0 or an empty string); freeing null does nothing. An out
 * pointer is set to null or 0 before anything else, so that it can always be freed.
 *
 * Ownership: what comes by an out pointer is yours, to be freed by its _free() or _close(). Strings
 * that are returned belong to the object that was asked (or to the library, as long as it is
 * loaded), are UTF-8 and end with a NUL. Free results, sessions and snapshots in any order.
 *
 * Threads: database, snapshot and endpoint from any thread; a session and its results from one at a
 * time, but for snowglobe_session_cancel(); results alone from any.
 *
 * Stability: names and meanings of what is here stay. Symbols carry the version SNOWGLOBE_1.
 */
#ifndef SNOWGLOBE_H
#define SNOWGLOBE_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define SNOWGLOBE_C_API __attribute__((visibility("default")))
#else
#define SNOWGLOBE_C_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct snowglobe_database snowglobe_database;
typedef struct snowglobe_session snowglobe_session;
typedef struct snowglobe_result snowglobe_result;
typedef struct snowglobe_snapshot snowglobe_snapshot;
typedef struct snowglobe_snapshot_list snowglobe_snapshot_list;
typedef struct snowglobe_endpoint snowglobe_endpoint;

/** Why a call failed. Others may come: treat what you do not know as a failure. */
typedef enum snowglobe_code {
  SNOWGLOBE_OK = 0,
  SNOWGLOBE_INVALID_ARGUMENT = 1, /**< the call can never work as written */
  SNOWGLOBE_CONVERSION = 2,       /**< a value is not of the type that was asked for */
  SNOWGLOBE_SQL = 3,              /**< PostgreSQL refused; see snowglobe_error_sqlstate() */
  SNOWGLOBE_CONNECTION_LOST = 4,  /**< the session, or the database, is closed */
  SNOWGLOBE_TIMEOUT = 5,
  SNOWGLOBE_CANCELLED = 6,
  SNOWGLOBE_IMAGE = 7, /**< the guest's image is missing or damaged */
  SNOWGLOBE_GUEST_CRASHED = 8,
  SNOWGLOBE_RESOURCE_EXHAUSTED = 9,
  SNOWGLOBE_UNSUPPORTED = 10,
  SNOWGLOBE_IO = 11,
  SNOWGLOBE_INTERNAL = 12,
  SNOWGLOBE_STALE_SESSION = 13, /**< a restore ended this session; open another */
  SNOWGLOBE_SNAPSHOT = 14,      /**< cannot be made or used; 15, 16 and 26 to 28 say why */
  SNOWGLOBE_SNAPSHOT_NOT_FOUND = 15,
  SNOWGLOBE_SNAPSHOT_DAMAGED = 16,
  SNOWGLOBE_DATABASE = 17, /**< a database folder cannot be opened; the next six say why */
  SNOWGLOBE_DATABASE_NOT_FOUND = 18,
  SNOWGLOBE_DATABASE_EXISTS = 19,
  SNOWGLOBE_DATABASE_LOCKED = 20, /**< somebody has it open */
  SNOWGLOBE_DATABASE_DAMAGED = 21,
  SNOWGLOBE_DATABASE_INCOMPATIBLE = 22,
  SNOWGLOBE_DATABASE_NOT_OURS = 23,
  SNOWGLOBE_DISK_FAILED = 24, /**< the host could not write; open the database again */
  SNOWGLOBE_PIPELINE_ABORTED = 25,
  SNOWGLOBE_SNAPSHOT_EXISTS = 26,       /**< the name is taken */
  SNOWGLOBE_SNAPSHOT_IN_USE = 27,       /**< somebody else has it, or its store: try again */
  SNOWGLOBE_SNAPSHOT_INCOMPATIBLE = 28, /**< of another image, size of memory, or newer library */
  SNOWGLOBE_ADDRESS = 29,               /**< snowglobe_expose() cannot listen there */
  SNOWGLOBE_ADDRESS_IN_USE = 30         /**< somebody else listens there */
} snowglobe_code;

/** The library's version at run time, e.g. "0.1.0". */
SNOWGLOBE_C_API const char* snowglobe_version(void);
/** A few words for a code. */
SNOWGLOBE_C_API const char* snowglobe_code_name(int code);

/* About the last call of this thread that failed; valid until the next one that fails. Empty where
 * there is nothing to say. */
SNOWGLOBE_C_API const char* snowglobe_error_message(void);
/** Five characters for SNOWGLOBE_SQL, e.g. "23505". */
SNOWGLOBE_C_API const char* snowglobe_error_sqlstate(void);
SNOWGLOBE_C_API const char* snowglobe_error_detail(void);
SNOWGLOBE_C_API const char* snowglobe_error_hint(void);

/* --- the guest's image in the program, instead of in a folder beside it */

/** One file of the image, e.g. "manifest.json". */
typedef struct snowglobe_embedded_file {
  const char* name;
  const void* data;
  size_t size; /**< in bytes */
} snowglobe_embedded_file;

/** Databases are opened with this image from now on, unless an option or the environment names
 * one. Names are copied, data are not: they stay as they are for as long as the process runs. With
 * 0 files the image is taken back. Programs that link the CMake target snowglobe::image need not
 * call it. */
SNOWGLOBE_C_API int snowglobe_register_image(const snowglobe_embedded_file* files, size_t count);

/* --- databases */

/** How to open. Begin with snowglobe_options_init(), so that members that come later have defaults.
 */
typedef struct snowglobe_options {
  size_t size;                 /**< sizeof(snowglobe_options), by snowglobe_options_init() */
  const char* image;           /**< folder of the guest's image; null: look for it */
  unsigned memory_mb;          /**< of the machine, 48 to 1024 by 4; 0: 256 */
  const char* executor;        /**< "translator" or "interpreter"; null: what runs here */
  unsigned boot_limit_ms;      /**< how long the open may take; 0: two minutes */
  unsigned statement_limit_ms; /**< then a statement is cancelled; 0: five minutes */
  unsigned pool_size;          /**< sessions kept for snowglobe_query(); 0: 8 */
  int create;                  /**< of snowglobe_open(): one of snowglobe_create */
  int read_only;               /**< of snowglobe_open(): changes nothing in the folder */
} snowglobe_options;

/** What snowglobe_open() does about a database that is there, or is not. */
typedef enum snowglobe_create {
  SNOWGLOBE_CREATE_IF_MISSING = 0,
  SNOWGLOBE_CREATE_NEVER = 1, /**< fails with SNOWGLOBE_DATABASE_NOT_FOUND */
  SNOWGLOBE_CREATE_ALWAYS = 2 /**< fails with SNOWGLOBE_DATABASE_EXISTS */
} snowglobe_create;

SNOWGLOBE_C_API void snowglobe_options_init(snowglobe_options* options);

/** A fresh database that is gone when it is closed. `options` may be null. */
SNOWGLOBE_C_API int snowglobe_open_in_memory(const snowglobe_options* options,
                                             snowglobe_database** out);
/** The database that is kept in the folder `path`, made there if it is missing. */
SNOWGLOBE_C_API int snowglobe_open(const char* path, const snowglobe_options* options,
                                   snowglobe_database** out);
/** Ends the machine. Sessions that are still there fail from now on, and are still to be closed. */
SNOWGLOBE_C_API void snowglobe_close(snowglobe_database* database);
/** A libpq connection string for this process. To be freed with snowglobe_string_free(). */
SNOWGLOBE_C_API int snowglobe_conninfo(snowglobe_database* database, char** out);
SNOWGLOBE_C_API void snowglobe_string_free(char* string);

/* --- statements */

/** A parameter: what stands for $1 and so on. */
typedef struct snowglobe_value {
  const char* data; /**< null: NULL */
  size_t size;      /**< in bytes; SNOWGLOBE_TERMINATED: up to the NUL */
  int is_bytes;     /**< 0: text, which the statement gives a type; else bytea */
} snowglobe_value;
#define SNOWGLOBE_TERMINATED ((size_t)-1)

/** Runs one statement, which commits by itself, on a session of a pool. `values` may be null if
 * `count` is 0, `out` if the result does not matter. */
SNOWGLOBE_C_API int snowglobe_query(snowglobe_database* database, const char* sql,
                                    const snowglobe_value* values, size_t count,
                                    snowglobe_result** out);
/** Runs many statements, separated by semicolons, as one transaction. */
SNOWGLOBE_C_API int snowglobe_script(snowglobe_database* database, const char* sql);

/** A backend of its own, for transactions: BEGIN and COMMIT are statements. */
SNOWGLOBE_C_API int snowglobe_session_open(snowglobe_database* database, snowglobe_session** out);
SNOWGLOBE_C_API int snowglobe_session_query(snowglobe_session* session, const char* sql,
                                            const snowglobe_value* values, size_t count,
                                            snowglobe_result** out);
SNOWGLOBE_C_API int snowglobe_session_script(snowglobe_session* session, const char* sql);
/** Cancels the statement that is running, if one is: it fails with SQLSTATE 57014. Any thread. */
SNOWGLOBE_C_API void snowglobe_session_cancel(snowglobe_session* session);
SNOWGLOBE_C_API void snowglobe_session_close(snowglobe_session* session);

/* --- results; rows and columns count from 0 */

SNOWGLOBE_C_API size_t snowglobe_result_rows(const snowglobe_result* result);
SNOWGLOBE_C_API size_t snowglobe_result_columns(const snowglobe_result* result);
/** Rows that an INSERT, UPDATE, ... touched. */
SNOWGLOBE_C_API uint64_t snowglobe_result_affected(const snowglobe_result* result);
/** The command's tag, e.g. "INSERT 0 3". */
SNOWGLOBE_C_API const char* snowglobe_result_command(const snowglobe_result* result);
SNOWGLOBE_C_API const char* snowglobe_column_name(const snowglobe_result* result, size_t column);
/** The type's object identifier in pg_type; 0 where there is no such column. */
SNOWGLOBE_C_API uint32_t snowglobe_column_type(const snowglobe_result* result, size_t column);
/** 1 also where there is no such row or column. */
SNOWGLOBE_C_API int snowglobe_result_is_null(const snowglobe_result* result, size_t row,
                                             size_t column);
/** The value as PostgreSQL's text; empty for NULL. */
SNOWGLOBE_C_API const char* snowglobe_result_text(const snowglobe_result* result, size_t row,
                                                  size_t column);
/** The text's length in bytes. */
SNOWGLOBE_C_API size_t snowglobe_result_size(const snowglobe_result* result, size_t row,
                                             size_t column);
/* These fail with SNOWGLOBE_CONVERSION for NULL and for what does not fit. */
SNOWGLOBE_C_API int snowglobe_result_int64(const snowglobe_result* result, size_t row,
                                           size_t column, int64_t* out);
SNOWGLOBE_C_API int snowglobe_result_double(const snowglobe_result* result, size_t row,
                                            size_t column, double* out);
SNOWGLOBE_C_API int snowglobe_result_bool(const snowglobe_result* result, size_t row, size_t column,
                                          int* out);
/** A bytea, up to `capacity` bytes of it; `size` is how many it has. `buffer` may be null if
 * `capacity` is 0. */
SNOWGLOBE_C_API int snowglobe_result_bytes(const snowglobe_result* result, size_t row,
                                           size_t column, void* buffer, size_t capacity,
                                           size_t* size);
SNOWGLOBE_C_API void snowglobe_result_free(snowglobe_result* result);

/* --- the machine as a value */

/** The whole machine at this moment. With a name the database keeps it; `name` may be null. `out`
 * may be null if there is a name. */
SNOWGLOBE_C_API int snowglobe_save(snowglobe_database* database, const char* name,
                                   snowglobe_snapshot** out);
/** Puts the machine back, whole or not at all. */
SNOWGLOBE_C_API int snowglobe_restore(snowglobe_database* database,
                                      const snowglobe_snapshot* snapshot);
/** The same by name, id, prefix of an id, or "latest". */
SNOWGLOBE_C_API int snowglobe_restore_named(snowglobe_database* database, const char* which);
/** A second machine that goes on from a snapshot, or with null from now. */
SNOWGLOBE_C_API int snowglobe_fork(snowglobe_database* database, const snowglobe_snapshot* snapshot,
                                   snowglobe_database** out);
/** The database stops keeping a named snapshot. */
SNOWGLOBE_C_API int snowglobe_forget(snowglobe_database* database,
                                     const snowglobe_snapshot* snapshot);
/** The named snapshots that the database keeps, oldest first. */
SNOWGLOBE_C_API int snowglobe_snapshots(snowglobe_database* database,
                                        snowglobe_snapshot_list** out);
SNOWGLOBE_C_API size_t snowglobe_snapshot_list_size(const snowglobe_snapshot_list* list);
/** One of them, which belongs to the list; null where there is none. */
SNOWGLOBE_C_API const snowglobe_snapshot* snowglobe_snapshot_list_at(
    const snowglobe_snapshot_list* list, size_t index);
SNOWGLOBE_C_API void snowglobe_snapshot_list_free(snowglobe_snapshot_list* list);
/** 32 hexadecimal digits. */
SNOWGLOBE_C_API const char* snowglobe_snapshot_id(const snowglobe_snapshot* snapshot);
SNOWGLOBE_C_API const char* snowglobe_snapshot_name(const snowglobe_snapshot* snapshot);
/** Milliseconds since 1970. */
SNOWGLOBE_C_API int64_t snowglobe_snapshot_time_ms(const snowglobe_snapshot* snapshot);
SNOWGLOBE_C_API void snowglobe_snapshot_free(snowglobe_snapshot* snapshot);

/* --- programs outside */

/** Lets them in by TCP with a password. `address` null: 127.0.0.1; `port` 0: any free one. Anything
 * but a loopback address lets other hosts in. */
SNOWGLOBE_C_API int snowglobe_expose(snowglobe_database* database, const char* address,
                                     uint16_t port, snowglobe_endpoint** out);
/** Nobody new gets in there, with null anywhere. Those that are connected stay. */
SNOWGLOBE_C_API int snowglobe_hide(snowglobe_database* database,
                                   const snowglobe_endpoint* endpoint);
/** "postgresql://user:password@host:port/postgres" */
SNOWGLOBE_C_API const char* snowglobe_endpoint_uri(const snowglobe_endpoint* endpoint);
SNOWGLOBE_C_API const char* snowglobe_endpoint_host(const snowglobe_endpoint* endpoint);
SNOWGLOBE_C_API uint16_t snowglobe_endpoint_port(const snowglobe_endpoint* endpoint);
SNOWGLOBE_C_API const char* snowglobe_endpoint_user(const snowglobe_endpoint* endpoint);
SNOWGLOBE_C_API const char* snowglobe_endpoint_password(const snowglobe_endpoint* endpoint);
SNOWGLOBE_C_API void snowglobe_endpoint_free(snowglobe_endpoint* endpoint);

#ifdef __cplusplus
}
#endif

#endif /* SNOWGLOBE_H */
