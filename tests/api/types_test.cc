// tests/api/types_test.cc - C++ types to PostgreSQL's and back: dates and times, uuid, arrays,
// enums, types of one's own, structs for rows.
#include "tests/api/native_server.h"

#include <gtest/gtest.h>

namespace {

enum class Mood { sad, happy };
enum class Unlabelled { one };

struct Money {
  std::int64_t cents = 0;
  friend bool operator==(const Money&, const Money&) = default;
};

struct Person {
  int id = 0;
  std::string name;
  std::optional<std::chrono::year_month_day> born;
  std::vector<std::optional<std::string>> titles;
  Money wage;
  Mood mood = Mood::sad;
};

struct Alone {
  std::optional<int> value;
};

}  // namespace

template <>
struct snowglobe::Conversion<Money> {
  static std::string to_text(const Money& value) {
    return std::to_string(value.cents / 100) + '.' +
           std::to_string(value.cents % 100 + 100).substr(1);
  }
  static Money from_text(std::string_view text) {
    const std::size_t point = text.find('.');
    if (point == text.npos) throw std::invalid_argument("money has a point");
    return {std::stol(std::string(text.substr(0, point))) * 100 +
            std::stol(std::string(text.substr(point + 1)))};
  }
  static constexpr std::uint32_t kTypeOid = 1700;
};
template <>
inline constexpr auto snowglobe::kEnumLabels<Mood> =
    std::to_array<snowglobe::EnumLabel<Mood>>({{Mood::sad, "sad"}, {Mood::happy, "happy"}});

namespace snowglobe {
namespace {

using namespace std::chrono;
using namespace std::chrono_literals;
using Micros = sys_time<microseconds>;

// --- without a server: text both ways

detail::Cell cell(std::string_view text) {
  return {text.data(), text.size(), 0, "c"};
}

template <class T>
T read(std::string_view text) {
  return detail::convert<T>(cell(text));
}

template <class T>
std::string sent(const T& value) {
  return std::string(Parameter(value).data());
}

TEST(Types, PointsOfTimeAreReadWithTheirZone) {
  EXPECT_EQ(read<Micros>("2024-05-01 12:00:00.5+02"), sys_days(2024y / 5 / 1) + 10h + 500ms);
  EXPECT_EQ(read<Micros>("2024-05-01 12:00:00-03:30"), sys_days(2024y / 5 / 1) + 15h + 30min);
  EXPECT_EQ(read<Micros>("1883-11-18 12:00:00-04:56:02"),
            sys_days(1883y / 11 / 18) + 16h + 56min + 2s);
  EXPECT_EQ(read<local_seconds>("1999-12-31 23:59:59.999"),
            local_days(1999y / 12 / 31) + 23h + 59min + 59s);
  EXPECT_EQ(read<Micros>("0044-03-15 00:00:00+00 BC"), sys_days(year(-43) / 3 / 15));
  EXPECT_EQ(read<Micros>("infinity"), Micros::max());
  EXPECT_EQ(read<Micros>("-infinity"), Micros::min());
  // The nanoseconds of system_clock end in 2262.
  EXPECT_THROW((void)read<system_clock::time_point>("2300-01-01 00:00:00+00"), ConversionError);
  // And int64_t's microseconds in 294247, thirty years before PostgreSQL's.
  EXPECT_EQ(read<Micros>("294247-01-09 00:00:00+00"), Micros(days(106751990)));
  EXPECT_THROW((void)read<Micros>("294276-12-31 23:59:59.999999+00"), ConversionError);
}

TEST(Types, WhatIsNoTimeIsSaid) {
  for (const char* bad :
       {"", "2024-05-01", "2024-13-01 00:00:00+00", "2023-02-29 00:00:00+00", "2024-05-01 12:00+00",
        "2024-05-01 12:00:00", "2024-05-01 12:00:00+", "2024-05-01 12:00:00.+00",
        "2024-05-01 12:00:00+00 AD", "9999999999999-01-01 00:00:00+00", "2024-05-01 25:00:00+00"}) {
    EXPECT_THROW((void)read<Micros>(bad), ConversionError) << bad;
  }
  EXPECT_THROW((void)read<local_seconds>("2024-05-01 12:00:00+00"), ConversionError);
  EXPECT_THROW((void)read<year_month_day>("05/01/2024"), ConversionError);
  EXPECT_THROW((void)read<year_month_day>("infinity"), ConversionError);
  EXPECT_THROW((void)read<year_month_day>("40000-01-01"), ConversionError);
  EXPECT_THROW((void)read<hh_mm_ss<microseconds>>("24:00:01"), ConversionError);
  EXPECT_THROW((void)read<seconds>("1 mon"), ConversionError);
  EXPECT_THROW((void)read<Interval>("3 fortnights"), ConversionError);
  EXPECT_THROW((void)read<Interval>(""), ConversionError);
}

TEST(Types, IntervalsHaveThreeParts) {
  EXPECT_EQ(read<Interval>("1 year 2 mons -3 days -04:05:06.789"),
            (Interval{14, -3, -(4h + 5min + 6s + 789ms)}));
  EXPECT_EQ(read<Interval>("-1 years +1 day"), (Interval{-12, 1, 0us}));
  EXPECT_EQ(read<Interval>("00:00:00"), Interval{});
  EXPECT_EQ(read<milliseconds>("2 days 00:00:01.5"), 48h + 1500ms);
  EXPECT_EQ(read<duration<double>>("00:00:01.5"), duration<double>(1.5));
  EXPECT_THROW((void)read<nanoseconds>("1000000 days"), ConversionError);
  EXPECT_EQ(sent(Interval{14, -3, -1500ms}), "14 mons -3 days -00:00:01.500000");
  EXPECT_EQ(sent(90min), "01:30:00.000000");
}

TEST(Types, DatesGoWhereTheCalendarGoes) {
  EXPECT_EQ(read<year_month_day>("2000-02-29"), 2000y / 2 / 29);
  EXPECT_EQ(read<sys_days>("0001-12-31 BC"), sys_days(year(0) / 12 / 31));
  EXPECT_EQ(sent(2000y / 2 / 29), "2000-02-29");
  EXPECT_EQ(sent(year(-43) / 3 / 15), "0044-03-15 BC");
  EXPECT_EQ(sent(sys_days(1969y / 12 / 31)), "1969-12-31");
  EXPECT_EQ(sent(sys_seconds(-1s)), "1969-12-31 23:59:59.000000+00");
  EXPECT_EQ(sent(sys_time<nanoseconds>(-1ns)), "1969-12-31 23:59:59.999999+00");
  EXPECT_EQ(sent(system_clock::time_point::max()), "infinity");
  EXPECT_THROW(Parameter(2023y / 2 / 29), InvalidArgument);
}

TEST(Types, ArraysThatAreNoneAreSaid) {
  using Numbers = std::vector<int>;
  EXPECT_EQ(read<Numbers>("[5:6]={1,2}"), (Numbers{1, 2}));
  EXPECT_EQ(read<std::vector<Numbers>>("{}"), std::vector<Numbers>{});
  for (const char* bad : {"", "1", "{", "{1", "{1,", "{1,}", "{,1}", "{1}2", "{{1}}", "{NULL}",
                          "[5", "{\"1", "{\"1\\", "{1}{2}", "{1,{2}}"}) {
    EXPECT_THROW((void)read<Numbers>(bad), ConversionError) << bad;
  }
  EXPECT_THROW((void)read<std::vector<Numbers>>("{1}"), ConversionError);
}

TEST(Types, UuidsAreReadInEitherCase) {
  const Uuid uuid = Uuid::parse("A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11");
  EXPECT_EQ(uuid.to_string(), "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
  EXPECT_LT(Uuid{}, uuid);
  for (const char* bad :
       {"", "a0eebc999c0b4ef8bb6d6bb9bd380a11", "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a112"}) {
    EXPECT_THROW((void)Uuid::parse(bad), InvalidArgument) << bad;
  }
}

// --- with one

class TypesTest : public testing::NativeTest {
 protected:
  /// There and back, and the server says of what type it is.
  template <class T>
  T round_trip(const T& value, std::string_view type) {
    const auto [back, name] = db().one<T, std::string>("select $1, pg_typeof($1)::text", value);
    EXPECT_EQ(name, type);
    return back;
  }
};

TEST_F(TypesTest, TimesComeBackAsTheyWent) {
  const Micros instants[] = {Micros(0us), sys_days(2024y / 2 / 29) + 12h + 34min + 56s + 789012us,
                             sys_days(year(-4000) / 1 / 1) + 1us, Micros::max(), Micros::min()};
  for (const Micros& instant : instants) {
    EXPECT_EQ(round_trip(instant, "timestamp with time zone"), instant);
  }
  const auto local = local_days(2024y / 3 / 31) + 2h + 30min + 1us;
  EXPECT_EQ(round_trip(local, "timestamp without time zone"), local);
  EXPECT_EQ(round_trip(2024y / 2 / 29, "date"), 2024y / 2 / 29);
  EXPECT_EQ(round_trip(sys_days::max(), "date"), sys_days::max());
  EXPECT_EQ(round_trip(36h + 1us, "interval"), 36h + 1us);
  EXPECT_EQ(round_trip(-90min, "interval"), -90min);
  const Interval interval{-14, 40, 25h + 1us};
  EXPECT_EQ(round_trip(interval, "interval"), interval);
  const hh_mm_ss time(23h + 59min + 59s + 999999us);
  EXPECT_EQ(round_trip(time, "time without time zone").to_duration(), time.to_duration());
}

TEST_F(TypesTest, TheSessionsZoneDoesNotMatter) {
  Session session = db().session();
  for (const char* zone : {"UTC", "Asia/Kolkata", "America/St_Johns", "Africa/Monrovia"}) {
    session.execute("select set_config('timezone', $1, false)", zone);
    for (const int year_number : {1850, 1950, 2024}) {
      const Micros instant = sys_days(year(year_number) / 7 / 4) + 123456789us;
      EXPECT_EQ(session.one<Micros>("select $1", instant), instant) << zone;
      EXPECT_EQ(session.one<double>("select extract(epoch from $1)::float8", instant),
                static_cast<double>(instant.time_since_epoch().count()) / 1e6);
    }
  }
}

TEST_F(TypesTest, AnIntervalFitsATimeColumnAndAnInstantADateColumn) {
  db().script("drop table if exists fits; create table fits(t time, d date, ts timestamp)");
  db().execute("insert into fits values ($1, $2, $3)", 90min, sys_days(2024y / 5 / 1) + 5h,
               sys_days(2024y / 5 / 1));
  EXPECT_EQ((db().one<minutes, year_month_day, local_seconds>("select * from fits")),
            std::make_tuple(90min, 2024y / 5 / 1, local_seconds(local_days(2024y / 5 / 1))));
}

TEST_F(TypesTest, ArraysOfAnyDepthComeBackAsTheyWent) {
  EXPECT_EQ(round_trip(std::vector<int>{1, -2, 3}, "integer[]"), (std::vector<int>{1, -2, 3}));
  EXPECT_EQ(round_trip(std::vector<int>{}, "integer[]"), std::vector<int>{});
  EXPECT_EQ(round_trip(std::vector<bool>{true, false}, "boolean[]"),
            (std::vector<bool>{true, false}));
  const std::vector<std::uint64_t> large{1, UINT64_MAX};
  EXPECT_EQ(round_trip(large, "numeric[]"), large);
  const std::vector<std::vector<std::optional<double>>> deep{{0.5, std::nullopt}, {1e300, -0.25}};
  EXPECT_EQ(round_trip(deep, "double precision[]"), deep);
  const std::vector<Bytes> bytes{{std::byte{0}, std::byte{'"'}}, {}};
  EXPECT_EQ(round_trip(bytes, "bytea[]"), bytes);
  const std::vector<Uuid> uuids{Uuid{}, Uuid::parse("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")};
  EXPECT_EQ(round_trip(uuids, "uuid[]"), uuids);
  const std::vector<Micros> instants{Micros(1us), Micros::max()};
  EXPECT_EQ(round_trip(instants, "timestamp with time zone[]"), instants);
}

TEST_F(TypesTest, TextInArraysKeepsEveryCharacter) {
  using Texts = std::vector<std::optional<std::string>>;
  const Texts texts{"",      "NULL",        "null", std::nullopt,  "a,b",     "{x}",
                    "\"q\"", "back\\slash", " s ",  "line\nbreak", "\xc3\xa9"};
  EXPECT_EQ(db().one<Texts>("select $1::text[]", texts), texts);
  EXPECT_EQ(db().one<int>("select count(*) from unnest($1::text[]) t where t is null", texts), 1);
  EXPECT_EQ(db().one<bool>("select 'b' = any($1)", std::vector<std::string>{"a", "b"}), true);
  const std::vector<std::string> documents{R"({"a": "x\"y"})", "[1, 2]"};
  EXPECT_EQ(db().one<std::string>("select ($1::jsonb[])[1] ->> 'a'", documents), "x\"y");
  EXPECT_EQ(db().one<std::vector<std::string>>("select $1::jsonb[]", documents), documents);
}

TEST_F(TypesTest, UuidsAndNumericsKeepEveryDigit) {
  const Uuid uuid = Uuid::parse("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
  EXPECT_EQ(round_trip(uuid, "uuid"), uuid);
  EXPECT_EQ(db().one<std::string>("select 12345678901234567890.123456789 * 10"),
            "123456789012345678901.234567890");
  EXPECT_EQ(round_trip(Money{123456}, "numeric"), Money{123456});
  const std::vector<Money> wages{{1}, {200}};
  EXPECT_EQ(round_trip(wages, "numeric[]"), wages);
}

TEST_F(TypesTest, WhatAConversionThrowsNamesTheColumn) {
  try {
    (void)db().one<Money>("select 5 as amount");
    ADD_FAILURE() << "read";
  } catch (const ConversionError& error) {
    EXPECT_EQ(std::string(error.what()), "column \"amount\": money has a point");
  }
}

TEST_F(TypesTest, EnumsGoByTheirLabels) {
  db().script("drop type if exists mood cascade; create type mood as enum ('sad', 'happy')");
  EXPECT_EQ(db().one<Mood>("select $1::mood", Mood::happy), Mood::happy);
  const std::vector<Mood> moods{Mood::happy, Mood::sad};
  EXPECT_EQ(db().one<std::vector<Mood>>("select $1::mood[]", moods), moods);
  EXPECT_THROW((void)db().one<Mood>("select 'angry'"), ConversionError);
  EXPECT_THROW((void)db().query("select $1", static_cast<Mood>(7)), InvalidArgument);
  static_assert(!std::constructible_from<Parameter, const Unlabelled&>);
}

TEST_F(TypesTest, RowsAreStructs) {
  db().script("drop type if exists mood cascade; create type mood as enum ('sad', 'happy')");
  constexpr const char* kSql =
      "select * from (values (1, 'Ada', date '1815-12-10', array['Countess', null], 1.50, "
      "'happy'::mood), (2, 'Nobody', null, '{}', 0.00, 'sad')) t order by 1";
  std::vector<Person> people = db().query(kSql).into<Person>();
  ASSERT_EQ(people.size(), 2U);
  EXPECT_EQ(people[0].name, "Ada");
  EXPECT_EQ(people[0].born, 1815y / 12 / 10);
  EXPECT_EQ(people[0].titles, (std::vector<std::optional<std::string>>{"Countess", std::nullopt}));
  EXPECT_EQ(people[0].wage, Money{150});
  EXPECT_EQ(people[1].mood, Mood::sad);
  EXPECT_EQ(people[1].born, std::nullopt);
  int sum = 0;
  for (const Person& person : db().query<Person>(kSql))
    sum += person.id;
  for (const auto& [id, name, born, titles, wage, mood] : db().query<Person>(kSql))
    sum += id;
  EXPECT_EQ(sum, 6);
  EXPECT_EQ(db().query(kSql)[1].as<Person>().id, 2);
  EXPECT_EQ(db().one<Alone>("select null::int").value, std::nullopt);
  EXPECT_EQ(db().maybe<Alone>("select 1 where false").has_value(), false);
  EXPECT_THROW((void)db().query<Person>("select 1"), InvalidArgument);
}

}  // namespace
}  // namespace snowglobe
