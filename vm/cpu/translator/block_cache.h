// vm/cpu/translator/block_cache.h - the translated blocks of a machine: found by address, linked to
// one another, dropped when what they were made from changes. Owns code memory behind the border.
#pragma once

#include "vm/cpu/translator/block_translator.h"
#include "vm/cpu/translator/code_image.h"
#include "vm/cpu/translator/code_memory.h"
#include "vm/cpu/translator/site_table.h"
#include "vm/cpu/translator/stubs.h"
#include "vm/memory/ram.h"

#include <array>
#include <memory>
#include <span>
#include <vector>

namespace snowglobe::vm {

/// Thread rule: confined to the machine's thread.
class BlockCache {
 public:
  /// `code` and `border`, which lies at its start, outlive the cache.
  BlockCache(CodeMemory& code, const BorderCode& border, u32 page_count);
  BlockCache(const BlockCache&) = delete;
  BlockCache& operator=(const BlockCache&) = delete;

  [[nodiscard]] Site& site(u32 number) { return sites_[number]; }
  [[nodiscard]] bool has_site(u32 number) const { return number < sites_.size(); }
  [[nodiscard]] SiteTable& sites() { return sites_; }  ///< for the block translator

  /// Entries of indirect jumps, by the low 16 bits of the address. One table a mode.
  [[nodiscard]] const u64* jump_table(bool user) const { return jump_tables_[user ? 1 : 0].data(); }
  void enter_jump(const TranslatedBlock& block);

  // --- finding
  [[nodiscard]] TranslatedBlock* find(PhysicalAddress physical, LinearAddress linear,
                                      bool user) const;
  /// The block whose running code holds a position in code memory, dropped or not; or null.
  [[nodiscard]] TranslatedBlock* at(u32 position) const;
  /// All, by position.
  [[nodiscard]] std::vector<TranslatedBlock*> in_order() const;
  [[nodiscard]] std::size_t size() const { return imported_count_ + order_.size(); }

  // --- adding
  /// True if the largest block finds room.
  [[nodiscard]] bool has_room() const;
  [[nodiscard]] BlockTranslator::Room hot_room() const { return room(hot_used_); }
  [[nodiscard]] BlockTranslator::Room cold_room() const { return room(cold_used_); }
  /// Takes a block that was written into the two rooms.
  TranslatedBlock& add(std::unique_ptr<TranslatedBlock> block);
  /// Lets the direct jump of a site lead to its target.
  void link(u32 number, TranslatedBlock& target);
  /// Links the jumps of a block whose targets are in the same page and there already.
  void link_known_targets(const TranslatedBlock& block);

  // --- taking over from another machine
  /// What is here now. `ram`: that of the machine.
  [[nodiscard]] std::shared_ptr<const CodeImage> image(const GuestRam& ram);
  /// All of the image that was adopted, and of our own blocks, in the order in which they were
  /// made, as many as `most` bytes of code hold. Null: there are none that are worth it.
  [[nodiscard]] std::shared_ptr<const CodeImage> extended_image(const GuestRam& ram,
                                                                std::size_t most);
  /// From now on import() may be called with this image. The cache must be empty. False, and
  /// nothing is done, if code means something else here.
  bool adopt(std::shared_ptr<const CodeImage> image);
  /// The image that was adopted; null: none, or everything was dropped since.
  [[nodiscard]] const CodeImage* adopted() const { return adopted_.get(); }
  /// Takes over a block that is not here, if that image has it. The guest's page must be as it was
  /// in the image's contents. Null: it has not.
  TranslatedBlock* import(PhysicalAddress physical, LinearAddress linear, bool user);

  // --- dropping. Dropped code that is running may go on to its next exit; release_dropped() then.
  void drop(TranslatedBlock& block);
  /// All that was made from a physical page. False if there was nothing.
  bool drop_page(u32 page);
  /// Everything, to begin at the start of code memory again. Nothing of it may run any more.
  void drop_everything();
  void release_dropped() { dropped_.clear(); }

 private:
  struct PageBlocks {
    std::vector<std::unique_ptr<TranslatedBlock>> blocks;
    std::vector<TranslatedBlock*> crossing_into;
  };

  static std::size_t bucket_of(PhysicalAddress physical, LinearAddress linear, bool user);
  [[nodiscard]] BlockTranslator::Room room(u32 position) const;
  [[nodiscard]] u64 address(u32 position) const {
    return reinterpret_cast<u64>(code_.executable() + position);
  }
  void set_jump(const Site& site, u32 position);
  void forget_jumps();
  void enter(std::unique_ptr<TranslatedBlock> block);
  void import_sites(TranslatedBlock& block);
  [[nodiscard]] std::shared_ptr<CodeImage> empty_image() const;
  void enter_block(CodeImage& image, const TranslatedBlock& block, const GuestRam& ram);
  [[nodiscard]] std::size_t blocks_within(std::size_t most) const;
  void copy_adopted(CodeImage& to);
  static void forget_changed_pages(CodeImage& image, const GuestRam& ram,
                                   std::span<TranslatedBlock* const> blocks);
  [[nodiscard]] TranslatedBlock* imported_at(u32 position) const;
  PageBlocks& page_blocks(u32 page);

  CodeMemory& code_;
  const BorderCode border_;
  const u32 hot_start_;   ///< behind the border
  const u32 cold_start_;  ///< from here on, what leaves blocks
  u32 hot_used_;
  u32 cold_used_;

  SiteTable sites_;
  std::array<std::vector<u64>, 2> jump_tables_;
  std::vector<TranslatedBlock*> buckets_;
  std::vector<std::unique_ptr<PageBlocks>> pages_;
  std::vector<TranslatedBlock*> order_;  ///< our own, by position
  std::vector<std::unique_ptr<TranslatedBlock>> dropped_;
  std::shared_ptr<const CodeImage> adopted_;  ///< its code lies ahead of all of ours
  std::vector<TranslatedBlock*> imported_;    ///< by index in the image; null: not here
  std::size_t imported_count_ = 0;
};

}  // namespace snowglobe::vm
