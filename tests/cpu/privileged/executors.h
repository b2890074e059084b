// tests/cpu/privileged/executors.h - the two processors that run a payload: Bochs and ours.
#pragma once

#include "base/error.h"
#include "vm/types.h"

#include <string>
#include <vector>

namespace snowglobe::vm::privileged {

/// The bytes that the runner reported in our interpreter, or in our translator.
std::vector<u8> run_here(const std::vector<u8>& payload, bool translated = false);

/// The same from Bochs, which runs in `folder` (its files stay there). `reset_code` is reset.S.
base::Result<std::vector<u8>> run_in_bochs(const std::vector<u8>& payload,
                                           const std::vector<u8>& reset_code,
                                           const std::string& folder);

/// A whole file; empty if there is none.
std::vector<u8> read_file(const std::string& path);

}  // namespace snowglobe::vm::privileged
