// cli/failure.cc - what went wrong, as a line for people or JSON, and as an exit code.
#include "cli/failure.h"

#include "cli/json.h"
#include "cli/terminal.h"
#include <array>
#include <cctype>
#include <cstdio>
#include <fmt/format.h>
#include <iostream>

namespace snowglobe::cli {
namespace {

struct Report {
  ExitCode code = kFailed;
  const char* kind = "failed";
  std::string message;
  Json more = Json::object();
};

/// The library's advice names its options; who sits at the command has others.
std::string in_our_words(std::string text) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 6> kWords = {
      {{"ExposeOptions::address", "--address"},
       {"Options::memory_mb", "--memory"},
       {"Options::read_only", "--read-only"},
       {"Options::image", "--image"},
       {"Options::executor", "--executor"},
       {"Options::from", "--from"}}};
  for (const auto& [theirs, ours] : kWords) {
    for (std::size_t at = 0; (at = text.find(theirs, at)) != std::string::npos;) {
      const bool longer = at > 0 && std::isalpha(static_cast<unsigned char>(text[at - 1])) != 0;
      if (!longer) text.replace(at, theirs.size(), ours);
      ++at;
    }
  }
  return text;
}

/// "LINE 2: select * from x" and a caret below the place. `position` counts characters from 1.
std::string excerpt(std::string_view statement, int position) {
  std::size_t byte = 0;
  for (int left = position - 1; left > 0 && byte < statement.size(); --left) {
    ++byte;
    while (byte < statement.size() && (static_cast<unsigned char>(statement[byte]) & 0xC0) == 0x80)
      ++byte;
  }
  if (byte > statement.size()) return {};
  const std::size_t before = statement.substr(0, byte).rfind('\n');
  const std::size_t begin = before == std::string_view::npos ? 0 : before + 1;
  const std::size_t end = std::min(statement.find('\n', byte), statement.size());
  const auto line =
      std::count(statement.begin(), statement.begin() + static_cast<long>(begin), '\n') + 1;
  const std::string head = fmt::format("LINE {}: ", line);
  const std::size_t indent = head.size() + display_width(statement.substr(begin, byte - begin));
  return fmt::format("\n{}{}\n{}^", head, statement.substr(begin, end - begin),
                     std::string(indent, ' '));
}

Json details(const SqlError& error) {
  Json more = {{"sqlstate", error.sqlstate()}};
  const auto add = [&more](const char* key, std::string_view value) {
    if (!value.empty()) more[key] = value;
  };
  add("detail", error.detail());
  add("hint", error.hint());
  add("table", error.table());
  add("column", error.column());
  add("constraint", error.constraint());
  if (error.position() > 0) more["position"] = error.position();
  return more;
}

Report classify() {
  try {
    throw;
  } catch (const Failure& error) {
    return {error.exit_code(), "failed", error.what()};
  } catch (const SqlError& error) {
    return {kSqlError, "sql", describe(error, {}), details(error)};
  } catch (const ImageError& error) {
    return {kNoImage, "image", error.what()};
  } catch (const SnapshotNotFound& error) {
    return {kNotFound, "not_found", error.what()};
  } catch (const SnapshotDamaged& error) {
    return {kDamaged, "damaged", error.what()};
  } catch (const SnapshotInUse& error) {
    return {kLocked, "locked", error.what()};
  } catch (const SnapshotIncompatible& error) {
    return {kIncompatible, "incompatible", error.what()};
  } catch (const SnapshotExists& error) {
    return {kFailed, "exists", error.what()};
  } catch (const SnapshotError& error) {
    return {kFailed, "snapshot", error.what()};
  } catch (const AddressInUse& error) {
    return {kAddress, "address_in_use", error.what()};
  } catch (const AddressError& error) {
    return {kAddress, "address", error.what()};
  } catch (const DatabaseNotFound& error) {
    return {kNotFound, "not_found", error.what()};
  } catch (const DatabaseLocked& error) {
    Json more = {{"pid", error.pid()}, {"program", error.program()}, {"since", error.since()}};
    return {kLocked, "locked", error.what(), std::move(more)};
  } catch (const DatabaseDamaged& error) {
    return {kDamaged, "damaged", error.what()};
  } catch (const DatabaseIncompatible& error) {
    return {kIncompatible, "incompatible", error.what()};
  } catch (const DiskFailed& error) {
    return {kFailed, "disk_failed", error.what()};
  } catch (const GuestCrashed& error) {
    Json more = {{"console", error.console()}};
    std::string message = error.what();
    for (const std::string& line : error.console())
      message += "\n  " + line;
    return {kNotStarted, "guest_crashed", message, std::move(more)};
  } catch (const TimeoutError& error) {
    return {kNotStarted, "timeout", error.what()};
  } catch (const Cancelled& error) {
    return {kInterrupted, "interrupted", error.what()};
  } catch (const InvalidArgument& error) {
    return {kUsage, "usage", error.what()};
  } catch (const std::bad_alloc&) {
    return {kFailed, "failed", "out of memory"};
  } catch (const std::exception& error) {
    return {kFailed, "failed", error.what()};
  }
}

const char* kind_of(const Report& report) {
  switch (report.code) {
    case kUsage:
      return "usage";
    case kNotFound:
      return "not_found";
    case kLocked:
      return "locked";
    case kIncompatible:
      return "incompatible";
    case kDamaged:
      return "damaged";
    case kInterrupted:
      return "interrupted";
    default:
      return report.kind;
  }
}

}  // namespace

std::string describe(const SqlError& error, std::string_view statement) {
  std::string text = fmt::format("ERROR:  {} ({})", error.message(), error.sqlstate());
  if (error.position() > 0 && !statement.empty()) text += excerpt(statement, error.position());
  if (!error.detail().empty()) text += fmt::format("\nDETAIL:  {}", error.detail());
  if (!error.hint().empty()) text += fmt::format("\nHINT:  {}", error.hint());
  if (!error.context().empty()) text += fmt::format("\nCONTEXT:  {}", error.context());
  return text;
}

int report_failure(bool json) {
  Report report = classify();
  if (report.code != kSqlError) report.message = in_our_words(std::move(report.message));
  std::cout.flush();
  if (json) {
    Json body = {{"code", static_cast<int>(report.code)},
                 {"kind", kind_of(report)},
                 {"message", report.message}};
    body.update(report.more);
    std::cerr << Json{{"error", body}}.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
  } else {
    fmt::print(stderr, "snowglobe: {}\n", report.message);
  }
  return report.code;
}

}  // namespace snowglobe::cli
