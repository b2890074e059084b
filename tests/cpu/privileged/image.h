// tests/cpu/privileged/image.h - cases as the generator makes them, and the payload made of them.
#pragma once

#include "tests/cpu/privileged/layout.h"

#include <string>
#include <vector>

namespace snowglobe::vm::privileged {

/// A doubleword of memory to change ahead of a case.
struct Poke {
  u32 address = 0;
  u32 value = 0;
};

struct Case {
  std::string kind;  ///< the generator's function, for reports
  CaseHeader header;
  std::vector<Poke> pokes;
  std::vector<u8> code;  ///< what was assembled at kCode, for reports
};

/// The memory that every case starts from.
std::vector<u8> make_template();

/// The runner, the template and the cases, as they lie from kPayload on.
std::vector<u8> make_payload(const std::vector<u8>& runner, const std::vector<Case>& cases);

/// What came back for one case.
struct Report {
  Record record;
  std::vector<Poke> changes;  ///< of the area against the template
};

/// Takes the bytes that the runner reported apart; incomplete ones at the end are dropped.
std::vector<Report> parse_reports(const std::vector<u8>& bytes);

}  // namespace snowglobe::vm::privileged
