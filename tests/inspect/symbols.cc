// tests/inspect/symbols.cc - ELF symbol tables and /proc/PID/maps.
#include "tests/inspect/symbols.h"

#include "tests/support/read_file.h"

#include <cstring>
#include <elf.h>
#include <fmt/format.h>
#include <sstream>

namespace snowglobe::inspect {

std::shared_ptr<const SymbolFile> SymbolFile::load(const std::string& path) {
  const auto bytes = test::read_file(path);
  if (!bytes || bytes->size() < sizeof(Elf64_Ehdr)) return nullptr;
  if (std::memcmp(bytes->data(), ELFMAG, SELFMAG) != 0) return nullptr;
  auto file = std::make_shared<SymbolFile>();
  file->file_ = path.substr(path.rfind('/') + 1);
  if ((*bytes)[EI_CLASS] == ELFCLASS32) {
    file->read<Elf32_Ehdr, Elf32_Shdr, Elf32_Sym, Elf32_Phdr>(*bytes);
  } else {
    file->read<Elf64_Ehdr, Elf64_Shdr, Elf64_Sym, Elf64_Phdr>(*bytes);
  }
  return file;
}

std::shared_ptr<const SymbolFile> SymbolFile::load_map(const std::string& path) {
  std::ifstream lines(path);
  auto file = std::make_shared<SymbolFile>();
  file->file_ = "kernel";
  std::string address;
  std::string type;
  std::string name;
  while (lines >> address >> type >> name) {
    if (type == "t" || type == "T") file->functions_[std::stoull(address, nullptr, 16)] = {0, name};
  }
  return file;
}

template <class Header, class Section, class Symbol, class Segment>
void SymbolFile::read(const std::vector<std::uint8_t>& bytes) {
  const auto at = [&bytes]<class T>(std::uint64_t offset, T& value) {
    if (offset > bytes.size() || bytes.size() - offset < sizeof(T)) return false;
    std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return true;
  };
  Header header;
  if (!at(0, header)) return;
  fixed_ = header.e_type == ET_EXEC;
  for (unsigned i = 0; i < header.e_phnum; ++i) {
    Segment segment;
    if (!at(header.e_phoff + std::uint64_t{i} * sizeof segment, segment)) return;
    if (segment.p_type == PT_LOAD)
      loaded_.push_back({segment.p_offset, segment.p_filesz, segment.p_vaddr});
  }
  for (unsigned i = 0; i < header.e_shnum; ++i) {
    Section table;
    Section names;
    if (!at(header.e_shoff + std::uint64_t{i} * sizeof table, table)) return;
    if (table.sh_type != SHT_SYMTAB && table.sh_type != SHT_DYNSYM) continue;
    if (!at(header.e_shoff + std::uint64_t{table.sh_link} * sizeof names, names)) continue;
    for (std::uint64_t offset = 0; offset + sizeof(Symbol) <= table.sh_size;
         offset += sizeof(Symbol)) {
      Symbol symbol;
      if (!at(table.sh_offset + offset, symbol)) break;
      const unsigned type = symbol.st_info & 0xF;
      if (symbol.st_value == 0 || (type != STT_FUNC && type != STT_NOTYPE)) continue;
      const std::uint64_t name = names.sh_offset + symbol.st_name;
      if (name >= bytes.size()) continue;
      std::string text(reinterpret_cast<const char*>(bytes.data()) + name);
      if (text.empty()) continue;
      Function& known = functions_[symbol.st_value];
      if (known.name.empty() || type == STT_FUNC) known = {symbol.st_size, std::move(text)};
    }
  }
}

std::string SymbolFile::name_at(std::uint64_t address) const {
  auto next = functions_.upper_bound(address);
  if (next == functions_.begin()) return "[" + file_ + "]";
  --next;
  const std::uint64_t distance = address - next->first;
  constexpr std::uint64_t kFarOff = 1 << 16;  // of what has no size
  if (distance >= (next->second.size != 0 ? next->second.size : kFarOff)) return "[" + file_ + "]";
  return next->second.name;
}

std::optional<std::uint64_t> SymbolFile::address_of(const std::string& name) const {
  for (const auto& [address, function] : functions_)
    if (function.name == name) return address;
  return std::nullopt;
}

std::uint64_t SymbolFile::address_of_offset(std::uint64_t offset) const {
  for (const Loaded& loaded : loaded_)
    if (offset - loaded.offset < loaded.size) return offset - loaded.offset + loaded.address;
  return offset;
}

std::vector<MappedFiles::Range> MappedFiles::parse(const std::string& maps) {
  std::vector<Range> ranges;
  std::istringstream lines(maps);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string span;
    std::string rights;
    std::string device;
    std::string inode;
    Range range;
    if (!(words >> span >> rights >> std::hex >> range.offset >> device >> inode)) continue;
    words >> range.path;
    const std::size_t dash = span.find('-');
    if (dash == std::string::npos || rights.find('x') == std::string::npos) continue;
    range.begin = std::stoull(span.substr(0, dash), nullptr, 16);
    range.end = std::stoull(span.substr(dash + 1), nullptr, 16);
    ranges.push_back(std::move(range));
  }
  return ranges;
}

void MappedFiles::add(Range range, const std::string& symbols) {
  if (!symbols.empty()) {
    auto& file = files_[symbols];
    if (file == nullptr) file = SymbolFile::load(symbols);
    range.symbols = file;
  }
  ranges_[range.begin] = std::move(range);
}

std::string MappedFiles::name_at(std::uint64_t address) const {
  auto next = ranges_.upper_bound(address);
  if (next == ranges_.begin()) return "[unknown]";
  const Range& range = std::prev(next)->second;
  if (address >= range.end) return "[unknown]";
  if (range.symbols == nullptr) return range.path.empty() ? "[anonymous]" : range.path;
  if (range.symbols->fixed()) return range.symbols->name_at(address);
  return range.symbols->name_at(
      range.symbols->address_of_offset(address - range.begin + range.offset));
}

std::optional<std::uint64_t> MappedFiles::address_of(const std::string& name) const {
  for (const auto& [begin, range] : ranges_) {
    if (range.symbols == nullptr) continue;
    const auto found = range.symbols->address_of(name);
    if (!found) continue;
    if (range.symbols->fixed()) return found;
    const std::uint64_t bias = begin - range.symbols->address_of_offset(range.offset);
    return *found + bias;
  }
  return std::nullopt;
}

}  // namespace snowglobe::inspect
