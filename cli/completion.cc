// cli/completion.cc - completion scripts for bash, zsh and fish, made from the command line's own
// description, so that they know every verb and option.
#include "cli/verbs.h"
#include <fmt/format.h>
#include <iostream>
#include <vector>

namespace snowglobe::cli {
namespace {

struct CompletionArguments {
  std::string shell;
};

struct Described {
  std::string name, text;
};

struct Verb : Described {
  std::vector<Described> options;
};

std::vector<Described> options_of(const CLI::App& app) {
  std::vector<Described> options;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames())
      options.push_back({"--" + name, option->get_description()});
  return options;
}

std::vector<Verb> verbs_of(const CLI::App& app) {
  std::vector<Verb> verbs;
  for (const CLI::App* verb : app.get_subcommands([](const CLI::App*) { return true; }))
    verbs.push_back({{verb->get_name(), verb->get_description()}, options_of(*verb)});
  return verbs;
}

std::string joined(const auto& all) {
  std::string text;
  for (const auto& each : all)
    text += (text.empty() ? "" : " ") + each.name;
  return text;
}

void print_bash(const std::vector<Verb>& verbs, const std::vector<Described>& common) {
  std::cout << "# Completion of snowglobe for bash: source <(snowglobe completion bash)\n"
               "_snowglobe() {\n"
               "  local word=${COMP_WORDS[COMP_CWORD]} verb= each options\n"
               "  for each in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
               "    case $each in\n";
  std::string names;
  for (const Verb& verb : verbs)
    names += (names.empty() ? "" : "|") + verb.name;
  std::cout << fmt::format("      {}) verb=$each; break ;;\n    esac\n  done\n", names);
  std::cout << fmt::format("  options='{}'\n  case $verb in\n", joined(common));
  for (const Verb& verb : verbs)
    if (!verb.options.empty())
      std::cout << fmt::format("    {}) options+=' {}' ;;\n", verb.name, joined(verb.options));
  std::cout << fmt::format(
      "  esac\n"
      "  if [[ $word == -* ]]; then\n"
      "    COMPREPLY=($(compgen -W \"$options\" -- \"$word\"))\n"
      "  elif [[ -z $verb ]]; then\n"
      "    COMPREPLY=($(compgen -W '{}' -- \"$word\") $(compgen -f -- \"$word\"))\n"
      "  else\n"
      "    COMPREPLY=($(compgen -f -- \"$word\"))\n"
      "  fi\n"
      "}}\n"
      "complete -o filenames -F _snowglobe snowglobe\n",
      joined(verbs));
}

std::string without(std::string text, std::string_view characters) {
  std::erase_if(text,
                [characters](char c) { return characters.find(c) != std::string_view::npos; });
  return text;
}

void print_zsh(const std::vector<Verb>& verbs, const std::vector<Described>& common) {
  const auto entries = [](const auto& all, const char* indent) {
    for (const auto& each : all)
      std::cout << fmt::format("{}'{}:{}'\n", indent, each.name, without(each.text, "':"));
  };
  std::cout << "#compdef snowglobe\n"
               "# Completion of snowglobe for zsh: snowglobe completion zsh > a folder of "
               "$fpath/_snowglobe\n"
               "_snowglobe() {\n  local -a verbs options\n  local verb each\n  verbs=(\n";
  entries(verbs, "    ");
  std::cout << "  )\n  options=(\n";
  entries(common, "    ");
  std::cout << "  )\n"
               "  for each in ${words[2,CURRENT-1]}; do\n"
               "    if (( ${verbs[(I)$each:*]} )); then verb=$each; break; fi\n"
               "  done\n"
               "  case $verb in\n";
  for (const Verb& verb : verbs) {
    if (verb.options.empty()) continue;
    std::cout << fmt::format("    {}) options+=(\n", verb.name);
    entries(verb.options, "      ");
    std::cout << "    ) ;;\n";
  }
  std::cout << "  esac\n"
               "  if [[ ${words[CURRENT]} == -* ]]; then _describe option options\n"
               "  elif [[ -z $verb ]]; then _describe verb verbs; _files\n"
               "  else _files; fi\n"
               "}\n_snowglobe \"$@\"\n";
}

void print_fish(const std::vector<Verb>& verbs, const std::vector<Described>& common) {
  std::cout << "# Completion of snowglobe for fish: snowglobe completion fish | source\n";
  const auto option = [](const Described& each, std::string_view condition) {
    std::cout << fmt::format("complete -c snowglobe{} -l {} -d '{}'\n", condition,
                             each.name.substr(2), without(each.text, "'"));
  };
  for (const Verb& verb : verbs) {
    std::cout << fmt::format("complete -c snowglobe -n __fish_use_subcommand -a {} -d '{}'\n",
                             verb.name, without(verb.text, "'"));
    for (const Described& each : verb.options)
      option(each, fmt::format(" -n '__fish_seen_subcommand_from {}'", verb.name));
  }
  for (const Described& each : common)
    option(each, "");
}

}  // namespace

void add_completion_verb(CLI::App& app, Context& context) {
  auto [verb, arguments] = add_verb<CompletionArguments>(
      app, context, "completion", "Print a completion script for bash, zsh or fish",
      [&app](Context&, const CompletionArguments& chosen) {
        const std::vector<Verb> verbs = verbs_of(app);
        const std::vector<Described> common = options_of(app);
        if (chosen.shell == "bash") print_bash(verbs, common);
        if (chosen.shell == "zsh") print_zsh(verbs, common);
        if (chosen.shell == "fish") print_fish(verbs, common);
        return kOk;
      });
  verb->add_option("shell", arguments->shell, "bash, zsh or fish")
      ->required()
      ->check(CLI::IsMember({"bash", "zsh", "fish"}));
}

}  // namespace snowglobe::cli
