// cli/line_editor.h - lines that somebody types, with editing, history and completion (libedit).
#pragma once

#include "cli/interrupts.h"
#include "cli/sql_engine.h"
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace snowglobe::cli {

/// Words that could stand where `word` does; `before` is what stands in the line before it.
using Completer =
    std::function<std::vector<std::string>(std::string_view word, std::string_view before)>;

/// On a terminal only. One at a time; one thread.
class LineEditor : public LineSource {
 public:
  /// `interrupted` is called when Ctrl-C dropped a line. The history is kept in a file that only
  /// its owner can read; without one (an empty path, or no plain file), in memory.
  LineEditor(Interrupts& interrupts, std::filesystem::path history, Completer completer,
             std::function<void()> interrupted);
  ~LineEditor() override;

  std::optional<std::string> next(const std::string& prompt) override;
  [[nodiscard]] bool interactive() const override { return true; }
  void remember(const std::string& text) override;

 private:
  class Libedit;
  std::unique_ptr<Libedit> libedit_;
};

}  // namespace snowglobe::cli
