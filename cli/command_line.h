// cli/command_line.h - "snowglobe [DATABASE] [VERB | SQL] ...": finds database and verb, and takes
// the command of `run` and `exec` away before CLI11 reads the options.
#pragma once

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

namespace snowglobe::cli {

struct CommandLine {
  std::vector<std::string> arguments;  ///< for CLI11: options, the verb, what belongs to it
  std::string database;                ///< what stood where a database stands: a folder, or a file
  std::vector<std::string> tail;       ///< the command of run and exec; what is behind "--"
};

/// Throws Failure with kUsage where a word is neither a verb, nor a database, nor SQL.
[[nodiscard]] CommandLine split_command_line(const CLI::App& app,
                                             const std::vector<std::string>& words);

/// The nearest of `candidates` to a mistyped word, or empty if none is near.
[[nodiscard]] std::string nearest(const std::string& word,
                                  const std::vector<std::string>& candidates);

}  // namespace snowglobe::cli
