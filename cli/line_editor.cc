// cli/line_editor.cc - lines that somebody types, with editing, history and completion (libedit).
#include "cli/line_editor.h"

#include "cli/prompt.h"
#include <algorithm>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <histedit.h>
#include <iostream>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

namespace snowglobe::cli {
namespace {

constexpr int kHistoryLines = 2000;

std::string common_start(const std::vector<std::string>& words) {
  std::string common = words.front();
  for (const std::string& word : words) {
    const auto [end, ignored] =
        std::mismatch(common.begin(), common.end(), word.begin(), word.end());
    common.erase(end, common.end());
  }
  return common;
}

}  // namespace

class LineEditor::Libedit {
 public:
  Libedit(Interrupts& interrupts, std::filesystem::path file, Completer completer,
          std::function<void()> interrupted)
      : interrupts_(interrupts),
        file_(std::move(file)),
        completer_(std::move(completer)),
        interrupted_(std::move(interrupted)) {
    // Characters beyond ASCII need a locale that has them, also where the user set none.
    if (std::setlocale(LC_CTYPE, "") == nullptr || MB_CUR_MAX == 1)
      std::setlocale(LC_CTYPE, "C.UTF-8");
    editor_ = el_init("snowglobe", stdin, stdout, stderr);
    history_ = history_init();
    HistEvent event;
    history(history_, &event, H_SETSIZE, kHistoryLines);
    history(history_, &event, H_SETUNIQUE, 1);
    if (keeps_history()) history(history_, &event, H_LOAD, file_.c_str());
    el_set(editor_, EL_CLIENTDATA, this);
    el_set(editor_, EL_PROMPT_ESC, &Libedit::prompt_of, kNoWidth);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_SIGNAL, 0);
    el_set(editor_, EL_HIST, history, history_);
    el_set(editor_, EL_GETCFN, &Libedit::read_character);
    el_set(editor_, EL_ADDFN, "sg-complete", "complete a word", &Libedit::complete);
    el_set(editor_, EL_BIND, "^I", "sg-complete", nullptr);
    el_set(editor_, EL_BIND, "^R", "em-inc-search-prev", nullptr);
    el_source(editor_, nullptr);  // the user's ~/.editrc
  }

  ~Libedit() {
    if (keeps_history()) {
      HistEvent event;
      const mode_t before = umask(077);
      history(history_, &event, H_SAVE, file_.c_str());
      umask(before);
    }
    history_end(history_);
    el_end(editor_);
  }

  Libedit(const Libedit&) = delete;
  Libedit& operator=(const Libedit&) = delete;

  std::optional<std::string> next(const std::string& prompt) {
    prompt_ = prompt;
    // Ctrl-C at the prompt drops the line and nothing else, however often it comes.
    const auto nothing = interrupts_.on_cancel([] {});
    for (;;) {
      std::cout.flush();
      dropped_ = false;
      // Ahead of the prompt: a Ctrl-D that comes before is the terminal's, which loses it.
      el_set(editor_, EL_PREP_TERM, 1);
      int count = 0;
      const char* line = el_gets(editor_, &count);
      if (line != nullptr && count > 0) {
        std::string text(line, static_cast<std::size_t>(count));
        while (!text.empty() && (text.back() == '\n' || text.back() == '\r'))
          text.pop_back();
        return text;
      }
      if (!dropped_) {
        std::cout << '\n';
        return std::nullopt;
      }
      if (interrupts_.closing().stop_requested()) return std::nullopt;
      std::cout << "^C\n";
      interrupts_.rearm();
      interrupted_();
      return std::string();
    }
  }

  void remember(std::string text) {
    // One line, where that does not change what it says.
    if (text.find("--") == std::string::npos) std::replace(text.begin(), text.end(), '\n', ' ');
    HistEvent event;
    history(history_, &event, H_ENTER, text.c_str());
  }

 private:
  // libedit takes everybody's rights to the file away, which must not be /dev/null then.
  [[nodiscard]] bool keeps_history() const {
    std::error_code ignored;
    const auto kind = std::filesystem::status(file_, ignored).type();
    return !file_.empty() && (kind == std::filesystem::file_type::regular ||
                              kind == std::filesystem::file_type::not_found);
  }
  static Libedit& self(EditLine* editor) {
    void* data = nullptr;
    el_get(editor, EL_CLIENTDATA, &data);
    return *static_cast<Libedit*>(data);
  }

  static char* prompt_of(EditLine* editor) { return self(editor).prompt_.data(); }

  static int read_character(EditLine* editor, wchar_t* out) {
    Libedit& me = self(editor);
    std::mbstate_t state{};
    for (;;) {
      pollfd both[] = {{STDIN_FILENO, POLLIN, 0}, {me.interrupts_.descriptor(), POLLIN, 0}};
      if (poll(both, 2, -1) < 0 && errno == EINTR) continue;
      if (both[1].revents != 0) {
        me.dropped_ = true;
        return 0;
      }
      char byte = 0;
      const ssize_t got = read(STDIN_FILENO, &byte, 1);
      if (got < 0 && errno == EINTR) continue;
      if (got <= 0) return 0;
      const std::size_t used = std::mbrtowc(out, &byte, 1, &state);
      if (used == static_cast<std::size_t>(-2)) continue;  // the character goes on
      if (used == static_cast<std::size_t>(-1)) state = {};
      if (used <= 1) return 1;
    }
  }

  static unsigned char complete(EditLine* editor, int) {
    Libedit& me = self(editor);
    const LineInfo* info = el_line(editor);
    const std::string_view before(info->buffer,
                                  static_cast<std::size_t>(info->cursor - info->buffer));
    const std::size_t space = before.find_last_of(" \t(,;");
    const std::size_t begin = space == std::string_view::npos ? 0 : space + 1;
    const std::string word(before.substr(begin));
    std::vector<std::string> words = me.completer_(word, before.substr(0, begin));
    if (words.empty()) return CC_REFRESH_BEEP;
    const std::string start = common_start(words);
    if (start.size() > word.size() || words.size() == 1) {
      el_deletestr(editor, static_cast<int>(word.size()));
      const bool goes_on = start.find_last_of("(./") == start.size() - 1;
      el_insertstr(editor, (words.size() == 1 && !goes_on ? start + " " : start).c_str());
      return CC_REFRESH;
    }
    std::cout << '\n';
    for (const std::string& each : words)
      std::cout << each << "  ";
    std::cout << std::endl;
    return CC_REDISPLAY;
  }

  Interrupts& interrupts_;
  std::filesystem::path file_;
  Completer completer_;
  std::function<void()> interrupted_;
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
  std::string prompt_;
  bool dropped_ = false;
};

LineEditor::LineEditor(Interrupts& interrupts, std::filesystem::path history, Completer completer,
                       std::function<void()> interrupted)
    : libedit_(std::make_unique<Libedit>(interrupts, std::move(history), std::move(completer),
                                         std::move(interrupted))) {}

LineEditor::~LineEditor() = default;

std::optional<std::string> LineEditor::next(const std::string& prompt) {
  return libedit_->next(prompt);
}

void LineEditor::remember(const std::string& text) {
  libedit_->remember(text);
}

}  // namespace snowglobe::cli
