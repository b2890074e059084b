// tests/translator/sequence/campaign.h - programs, run by the interpreter and by translators of
// several settings, compared, and made smaller when something differs.
#pragma once

#include "tests/translator/sequence/machine.h"

#include <functional>
#include <map>

namespace snowglobe::sequence {

struct Tally {
  u64 programs = 0, abandoned = 0, different = 0;
  std::map<u32, u64> by_vector;  ///< that ended them
};

class Campaign {
 public:
  Campaign();
  /// Runs program `index`; `report` gets the text of a difference.
  void run(u64 seed, u64 index, const std::function<void(const std::string&)>& report);
  [[nodiscard]] const Tally& tally() const { return tally_; }

 private:
  std::string differs(const Program& program, Machine& translated);
  Program shrink(Program program, Machine& translated);

  Machine reference_{std::nullopt};
  std::vector<std::pair<std::string, std::unique_ptr<Machine>>> translated_;
  Tally tally_;
};

std::string describe(const Program& program);

}  // namespace snowglobe::sequence
