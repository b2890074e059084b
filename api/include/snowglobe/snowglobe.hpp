// snowglobe/snowglobe.hpp - PostgreSQL inside your process: the one header to include.
//
//   auto db = snowglobe::Database::open_in_memory();
//   db.execute("create table t(id int primary key, name text)");
//   db.execute("insert into t values ($1, $2)", 1, "Ada");
//   for (auto [id, name] : db.query<int, std::string>("select id, name from t")) ...
//
// Database: any thread. Session and what it made: one thread at a time. Errors: error.hpp.
#pragma once

#include <snowglobe/database.hpp>
#include <snowglobe/diff.hpp>
#include <snowglobe/error.hpp>
#include <snowglobe/expose.hpp>
#include <snowglobe/guest.hpp>
#include <snowglobe/image.hpp>
#include <snowglobe/options.hpp>
#include <snowglobe/parameter.hpp>
#include <snowglobe/pipeline.hpp>
#include <snowglobe/result.hpp>
#include <snowglobe/session.hpp>
#include <snowglobe/snapshot.hpp>
#include <snowglobe/sql_errors.hpp>
#include <snowglobe/subscription.hpp>
#include <snowglobe/types.hpp>
#include <snowglobe/version.hpp>
