// tests/inspect/symbols.h - names of addresses: of the guest's kernel and programs, and of this
// program itself.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace snowglobe::inspect {

/// Functions of one ELF file, 32 or 64 bits.
class SymbolFile {
 public:
  /// Null if it can not be read; without symbols, everything in it has the file's name.
  static std::shared_ptr<const SymbolFile> load(const std::string& path);

  /// The kernel's System.map.
  static std::shared_ptr<const SymbolFile> load_map(const std::string& path);

  [[nodiscard]] std::string name_at(std::uint64_t address) const;
  [[nodiscard]] std::optional<std::uint64_t> address_of(const std::string& name) const;
  /// True if it runs at the addresses that it was linked for.
  [[nodiscard]] bool fixed() const { return fixed_; }
  /// The address that the file gives to the byte at an offset of it.
  [[nodiscard]] std::uint64_t address_of_offset(std::uint64_t offset) const;

 private:
  template <class Header, class Section, class Symbol, class Segment>
  void read(const std::vector<std::uint8_t>& bytes);

  struct Function {
    std::uint64_t size = 0;
    std::string name;
  };
  struct Loaded {
    std::uint64_t offset, size, address;
  };
  std::string file_;
  bool fixed_ = false;
  std::map<std::uint64_t, Function> functions_;
  std::vector<Loaded> loaded_;
};

/// Which file lies where in an address space, as /proc/PID/maps says it.
class MappedFiles {
 public:
  /// `where` turns the name of a mapped file into that of the file with its symbols.
  template <class Where>
  MappedFiles(const std::string& maps, const Where& where) {
    for (const Range& range : parse(maps))
      add(range, where(range.path));
  }

  [[nodiscard]] std::string name_at(std::uint64_t address) const;
  [[nodiscard]] std::optional<std::uint64_t> address_of(const std::string& name) const;

 private:
  struct Range {
    std::uint64_t begin = 0, end = 0, offset = 0;
    std::string path;
    std::shared_ptr<const SymbolFile> symbols;
  };
  static std::vector<Range> parse(const std::string& maps);
  void add(Range range, const std::string& symbols);

  std::map<std::uint64_t, Range> ranges_;
  std::map<std::string, std::shared_ptr<const SymbolFile>> files_;
};

}  // namespace snowglobe::inspect
