// cli/command_line.cc - finds database and verb among the words of the command line.
#include "cli/command_line.h"

#include "cli/failure.h"
#include <algorithm>
#include <array>
#include <filesystem>
#include <fmt/format.h>
#include <numeric>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

// Everything behind the first word of theirs belongs to another program.
constexpr std::array<std::string_view, 2> kOfOthers = {"run", "exec"};
// Their words are paths of another kind.
constexpr std::array<std::string_view, 8> kWithPaths = {"init", "fork",   "backup", "put",
                                                        "get",  "export", "import", "load"};

template <std::size_t kSize>
bool is_one_of(std::string_view word, const std::array<std::string_view, kSize>& words) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

const CLI::App* verb_named(const CLI::App& app, const std::string& word) {
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    if (verb->get_name() == word) return verb;
  return nullptr;
}

std::vector<std::string> verb_names(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(verb->get_name());
  return names;
}

/// "--timeout" and "-n" with their value in the next word.
bool takes_next(const CLI::App& app, const CLI::App* verb, const std::string& word) {
  if (word.find('=') != std::string::npos) return false;
  const bool is_long = word.starts_with("--");
  if (!is_long && word.size() != 2) return false;  // -n5, or several flags
  // Ahead of a verb they may be those of the verb that goes without saying.
  const CLI::App* owner = verb == nullptr ? verb_named(app, "sql") : verb;
  const CLI::Option* option = owner == nullptr ? nullptr : owner->get_option_no_throw(word);
  if (option == nullptr) option = app.get_option_no_throw(word);
  return option != nullptr && option->get_items_expected_max() > 0;
}

bool ends_like_database(const std::string& word) {
  return word == ":memory:" || word.ends_with(".globe") || word.ends_with(".globe/");
}

bool is_database(const std::string& word) {
  std::error_code ignored;
  return ends_like_database(word) || fs::exists(fs::path(word) / "database.json", ignored) ||
         fs::exists(fs::path(word) / "FORMAT", ignored);
}

bool may_be_database(const std::string& word) {
  std::error_code ignored;
  return is_database(word) || fs::exists(word, ignored) ||
         (word.find('/') != std::string::npos && word.find(' ') == std::string::npos);
}

Failure unknown(const CLI::App& app, const std::string& word) {
  if (word.ends_with(".snap")) return {kNotFound, fmt::format("there is no file {}", word)};
  const std::string meant = nearest(word, verb_names(app));
  return {kUsage,
          fmt::format("there is no verb \"{0}\"{1}; `snowglobe --help` lists them. SQL is one "
                      "word in quotes; a new database is named {0}.globe, ./{0} or --db {0}",
                      word, meant.empty() ? "" : fmt::format(": did you mean \"{}\"?", meant))};
}

}  // namespace

std::string nearest(const std::string& word, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t least = word.size() <= 3 ? 2 : 3;  // more is another word
  for (const std::string& each : candidates) {
    std::vector<std::size_t> row(each.size() + 1);  // Levenshtein's distance
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (std::size_t i = 0; i < word.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i + 1;
      for (std::size_t j = 0; j < each.size(); ++j) {
        const std::size_t swap = diagonal + (word[i] == each[j] ? 0 : 1);
        diagonal = row[j + 1];
        row[j + 1] = std::min({swap, diagonal + 1, row[j] + 1});
      }
    }
    if (row.back() < least) {
      least = row.back();
      best = each;
    }
  }
  return best;
}

CommandLine split_command_line(const CLI::App& app, const std::vector<std::string>& words) {
  CommandLine line;
  const CLI::App* verb = nullptr;
  bool informs = false;  // --help and --version need no verb
  const auto choose = [&](const std::string& name) {
    // First of all, so that options that came before it are its own, or everybody's.
    verb = verb_named(app, name);
    line.arguments.insert(line.arguments.begin(), name);
  };
  for (std::size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if (word == "--") {
      line.tail.assign(words.begin() + static_cast<long>(i) + 1, words.end());
      break;
    }
    if (word.size() > 1 && word[0] == '-') {
      informs |= word == "-h" || word == "--help" || word == "--help-all" || word == "--version";
      line.arguments.push_back(word);
      if (takes_next(app, verb, word) && i + 1 < words.size()) line.arguments.push_back(words[++i]);
      continue;
    }
    if (verb == nullptr) {
      if (verb_named(app, word) != nullptr) {
        choose(word);
      } else if (line.database.empty() && may_be_database(word)) {
        line.database = word;
      } else if (!line.database.empty() || word.find_first_of(" ;\\") != std::string::npos) {
        choose("sql");
        line.arguments.push_back(word);
      } else {
        throw unknown(app, word);
      }
      continue;
    }
    if (is_one_of(verb->get_name(), kOfOthers)) {
      line.tail.assign(words.begin() + static_cast<long>(i), words.end());
      break;
    }
    if (line.database.empty() && !is_one_of(verb->get_name(), kWithPaths) && is_database(word)) {
      line.database = word;  // snowglobe list shop.globe
    } else {
      line.arguments.push_back(word);
    }
  }
  if (verb == nullptr && !informs) choose("shell");
  const bool keeps_tail =
      verb != nullptr && (is_one_of(verb->get_name(), kOfOthers) || verb->get_name() == "shell");
  if (!keeps_tail && !line.tail.empty()) {
    line.arguments.emplace_back("--");
    line.arguments.insert(line.arguments.end(), line.tail.begin(), line.tail.end());
  }
  return line;
}

}  // namespace snowglobe::cli
