// vm/cpu/translator/site_table.h - the sites of a machine by number, in pieces that stay where they
// are.
#pragma once

#include "vm/cpu/translator/block.h"

#include <array>
#include <memory>
#include <vector>

namespace snowglobe::vm {

/// Numbers count up from 0. Some can be set aside, to be filled in any order or never.
class SiteTable {
 public:
  [[nodiscard]] u32 size() const { return size_; }
  /// Must have been added or made.
  [[nodiscard]] Site& operator[](u32 number) {
    return (*pieces_[number / kPieceSites])[number % kPieceSites];
  }
  [[nodiscard]] const Site& operator[](u32 number) const {
    return (*pieces_[number / kPieceSites])[number % kPieceSites];
  }
  /// Gets the number size().
  void push_back(const Site& site) {
    set_aside(size_ + 1);
    make(size_ - 1) = site;
  }
  /// Numbers below `count` are not given to anybody else.
  void set_aside(u32 count) {
    size_ = count;
    pieces_.resize((count + kPieceSites - 1) / kPieceSites);
  }
  Site& make(u32 number) {
    auto& piece = pieces_[number / kPieceSites];
    if (piece == nullptr) piece = std::make_unique<Piece>();
    return (*piece)[number % kPieceSites];
  }
  void clear() {
    pieces_.clear();
    size_ = 0;
  }

 private:
  static constexpr u32 kPieceSites = 8;
  using Piece = std::array<Site, kPieceSites>;

  std::vector<std::unique_ptr<Piece>> pieces_;
  u32 size_ = 0;
};

}  // namespace snowglobe::vm
