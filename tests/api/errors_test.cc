// tests/api/errors_test.cc - every kind of error has its class, its SQLSTATE and its words.
#include "api/src/errors.h"

#include "tests/api/native_server.h"

#include <gtest/gtest.h>

namespace snowglobe {
namespace {

class ErrorsTest : public testing::NativeTest {
 protected:
  [[nodiscard]] const char* schema() const override {
    return "drop table if exists child, parent;"
           "create table parent(id int primary key, name text not null, age int constraint grown "
           "check (age > 17));"
           "create table child(id int references parent)";
  }
};

TEST_F(ErrorsTest, ConstraintsHaveTheirClasses) {
  db().execute("insert into parent values (1, 'Ada', 20)");
  try {
    db().execute("insert into parent values ($1, $2, $3)", 1, "Bob", 20);
    FAIL() << "a duplicate went in";
  } catch (const UniqueViolation& error) {
    EXPECT_EQ(error.sqlstate(), "23505");
    EXPECT_EQ(error.table(), "parent");
    EXPECT_EQ(error.constraint(), "parent_pkey");
    EXPECT_EQ(error.detail(), "Key (id)=(1) already exists.");
    EXPECT_EQ(error.code(), Errc::sql);
    EXPECT_NE(std::string(error.what()).find("23505"), std::string::npos);
  }
  EXPECT_THROW(db().execute("insert into child values (7)"), ForeignKeyViolation);
  EXPECT_THROW(db().execute("insert into parent values (2, null, 20)"), NotNullViolation);
  EXPECT_THROW(db().execute("insert into parent values (2, 'x', 3)"), CheckViolation);
  EXPECT_THROW(db().execute("insert into parent values (2, 'x', 3)"), IntegrityConstraintViolation);
}

TEST_F(ErrorsTest, WrongSqlSaysWhere) {
  try {
    db().execute("select * frm parent");
    FAIL();
  } catch (const SyntaxError& error) {
    EXPECT_EQ(error.position(), 10);
  }
  EXPECT_THROW(db().execute("select * from nowhere"), UndefinedTable);
  EXPECT_THROW(db().execute("select nothing from parent"), UndefinedColumn);
  EXPECT_THROW(db().execute("select nofunction()"), UndefinedFunction);
  EXPECT_THROW(db().execute("select 1; select 2"), SyntaxError);
}

TEST_F(ErrorsTest, ACountOfParametersThatIsOffIsTheServersError) {
  EXPECT_THROW(db().execute("select $1::int + $2::int", 1), SqlError);
  EXPECT_THROW(db().execute("select 1", 1), SqlError);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(ErrorsTest, ANulInTextIsRefusedBeforeAnythingIsSent) {
  using namespace std::string_literals;
  EXPECT_THROW(db().execute("select $1::text", "a\0b"s), InvalidArgument);
  EXPECT_THROW(db().execute("select 1\0"s), InvalidArgument);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(ErrorsTest, CopyByQueryIsRefusedAndTheSessionGoesOn) {
  EXPECT_THROW(db().execute("copy parent from stdin"), InvalidArgument);
  EXPECT_THROW(db().execute("copy parent to stdout"), InvalidArgument);
  EXPECT_THROW(db().script("copy parent to stdout"), InvalidArgument);
  EXPECT_EQ(db().one<int>("select 1"), 1);
}

TEST_F(ErrorsTest, AnUnknownDatabaseOrUserIsTheServersError) {
  try {
    (void)db().session({.database = "no such"});
    FAIL();
  } catch (const SqlError& error) {
    EXPECT_EQ(error.sqlstate(), "3D000");
    EXPECT_EQ(error.message(), "database \"no such\" does not exist");
  }
  EXPECT_THROW((void)db().session({.database = ""}), InvalidArgument);
}

TEST_F(ErrorsTest, ADeadlockIsReportedToOneOfTheTwo) {
  db().script("insert into parent values (1, 'a', 20), (2, 'b', 20)");
  Session first = db().session();
  Session second = db().session();
  Transaction one = first.begin();
  Transaction two = second.begin();
  one.execute("update parent set age = 30 where id = 1");
  two.execute("update parent set age = 30 where id = 2");
  std::atomic<int> deadlocks = 0;
  std::thread other([&] {
    try {
      two.execute("update parent set age = 30 where id = 1");
    } catch (const DeadlockDetected& error) {
      EXPECT_EQ(error.sqlstate(), "40P01");
      ++deadlocks;
      two.rollback();
    }
  });
  try {
    one.execute("update parent set age = 30 where id = 2");
  } catch (const DeadlockDetected&) {
    ++deadlocks;
    one.rollback();
  }
  other.join();
  EXPECT_EQ(deadlocks, 1);
}

template <class Expected>
void expect_class(const char* sqlstate) {
  SqlDiagnostics diagnostics;
  diagnostics.sqlstate = sqlstate;
  EXPECT_THROW(detail::throw_sql_error(diagnostics), Expected) << sqlstate;
}

TEST(Errors, ACodeWithoutAClassOfItsOwnIsThrownAsItsClass) {
  expect_class<InvalidDatetimeFormat>("22007");
  expect_class<DataException>("22023");
  expect_class<ProgramLimitExceeded>("54001");
  expect_class<InternalError>("XX002");
  expect_class<InvalidCatalogName>("3D000");
  expect_class<SqlError>("ZZ999");
  expect_class<SqlError>("");
}

TEST(Errors, EachCodeOfTheLayersBecomesItsException) {
  const auto thrown = [](base::ErrorCode code) { detail::throw_error({code, "words"}); };
  EXPECT_THROW(thrown(base::ErrorCode::kInvalidArgument), InvalidArgument);
  EXPECT_THROW(thrown(base::ErrorCode::kTimeout), TimeoutError);
  EXPECT_THROW(thrown(base::ErrorCode::kCancelled), Cancelled);
  EXPECT_THROW(thrown(base::ErrorCode::kCorrupt), ImageError);
  EXPECT_THROW(thrown(base::ErrorCode::kGuestCrashed), GuestCrashed);
  EXPECT_THROW(thrown(base::ErrorCode::kInternal), Error);
}

TEST(Errors, WhatIsWrongWithASnapshotHasAClassEach) {
  const auto thrown = [](base::ErrorCode code) { detail::throw_snapshot_error({code, "words"}); };
  EXPECT_THROW(thrown(base::ErrorCode::kNotFound), SnapshotNotFound);
  EXPECT_THROW(thrown(base::ErrorCode::kCorrupt), SnapshotDamaged);
  EXPECT_THROW(thrown(base::ErrorCode::kAlreadyExists), SnapshotExists);
  EXPECT_THROW(thrown(base::ErrorCode::kUnavailable), SnapshotInUse);
  EXPECT_THROW(thrown(base::ErrorCode::kUnsupported), SnapshotIncompatible);
  EXPECT_THROW(thrown(base::ErrorCode::kInternal), SnapshotError);
  try {
    thrown(base::ErrorCode::kUnavailable);
  } catch (const SnapshotError& error) {
    EXPECT_EQ(error.code(), Errc::snapshot_in_use);
  }
  // A machine that cannot be saved now is nobody's who has it.
  try {
    detail::throw_capture_error({base::ErrorCode::kUnavailable, "words"});
  } catch (const SnapshotError& error) {
    EXPECT_EQ(error.code(), Errc::snapshot);
  }
}

TEST(Errors, AnAddressThatIsTakenIsNotOneThatCannotBe) {
  const auto thrown = [](base::ErrorCode code) { detail::throw_listen_error({code, "words"}); };
  EXPECT_THROW(thrown(base::ErrorCode::kAlreadyExists), AddressInUse);
  EXPECT_THROW(thrown(base::ErrorCode::kInvalidArgument), InvalidArgument);
  for (const auto code : {base::ErrorCode::kNotFound, base::ErrorCode::kIo}) {
    try {
      thrown(code);
      ADD_FAILURE();
    } catch (const AddressError& error) {
      EXPECT_EQ(error.code(), Errc::address);
    }
  }
}

TEST(Errors, EveryCodeHasWords) {
  for (int code = 1; code <= static_cast<int>(Errc::address_in_use); ++code)
    EXPECT_NE(error_category().message(code), "unknown error") << code;
  EXPECT_EQ(error_category().message(999), "unknown error");
}

TEST(Errors, GuestCrashedShowsTheLastConsoleLines) {
  const GuestCrashed error("the guest crashed", {"first", "Kernel panic"});
  EXPECT_EQ(error.console().size(), 2U);
  EXPECT_NE(std::string(error.what()).find("Kernel panic"), std::string::npos);
  EXPECT_EQ(error.code(), Errc::guest_crashed);
  EXPECT_EQ(error.code().message(), "guest crashed");
}

}  // namespace
}  // namespace snowglobe
