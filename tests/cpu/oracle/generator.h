// tests/cpu/oracle/generator.h - makes cases: the same one for the same seed and index, whatever
// was made before. Knows nothing of executors or outcomes.
#pragma once

#include "tests/cpu/oracle/case.h"
#include "tests/cpu/oracle/forms.h"

#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::oracle {

class Generator {
 public:
  /// `only`: lower-case mnemonics as Zydis writes them, empty for all; "(refused)" for those that
  /// are #UD on our processor.
  Generator(u64 seed, std::span<const std::string> only = {});

  void make(u64 index, Case& test) const;
  [[nodiscard]] const FormTable& table() const { return table_; }
  /// False when `only` names nothing that there is.
  [[nodiscard]] bool has_choices() const { return !choices_.empty(); }

 private:
  FormTable table_;
  u64 seed_;
  /// Lists of forms between which a case chooses first, one a mnemonic; then it chooses a form.
  std::vector<std::vector<u32>> choices_;
  std::vector<u32> all_;
};

/// Name of a case's instruction for reports: the mnemonic, "(refused)" or "(invalid)".
std::string_view case_name(const Case& test);

}  // namespace snowglobe::oracle
