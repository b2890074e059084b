// vm/cpu/cpuid.cc - the answers of CPUID. What is granted here works; what does not work is not
// granted.
#include "vm/cpu/cpuid.h"

#include "base/bytes.h"

#include <array>
#include <string_view>

namespace snowglobe::vm {
namespace {

// CPUID.01H:EDX.
enum Feature : u32 {
  kFpu = 1u << 0,
  kPse = 1u << 3,
  kTsc = 1u << 4,
  kMsr = 1u << 5,
  kCx8 = 1u << 8,
  kSep = 1u << 11,
  kPge = 1u << 13,
  kCmov = 1u << 15,
  kMmx = 1u << 23,
  kFxsr = 1u << 24,
  kSse = 1u << 25,
  kSse2 = 1u << 26,
};
constexpr u32 kFeatures =
    kFpu | kPse | kTsc | kMsr | kCx8 | kSep | kPge | kCmov | kMmx | kFxsr | kSse | kSse2;

constexpr u32 kMaxLeaf = 0x16;
constexpr u32 kMaxExtendedLeaf = 0x80000008;

// Leaf 0x15: TSC frequency = crystal * numerator / denominator. 25 MHz is a crystal of real
// processors; Linux takes the frequency as known if the crystal's is given.
constexpr u32 kCrystalHz = 25'000'000;
constexpr u32 kTscNumerator = kTscHz / kCrystalHz;
static_assert(kCrystalHz * kTscNumerator == kTscHz);

constexpr std::string_view kBrand = "Snowglobe i686";

// 16 characters of the brand string, which is padded with zeros to 48.
CpuidResult brand_part(u32 part) {
  std::array<char, 48> text{};
  kBrand.copy(text.data(), kBrand.size());
  const char* at = text.data() + std::size_t{16} * part;
  return {base::load_le<u32>(at), base::load_le<u32>(at + 4), base::load_le<u32>(at + 8),
          base::load_le<u32>(at + 12)};
}

// Leaf 4: the caches of a small processor of that time, so that guests find plausible sizes.
CpuidResult cache(u32 subleaf) {
  struct Cache {
    u32 type, level, ways, sets;
  };
  static constexpr Cache kCaches[] = {{1, 1, 8, 64}, {2, 1, 8, 64}, {3, 2, 8, 4096}};
  if (subleaf >= std::size(kCaches)) return {};
  const Cache& c = kCaches[subleaf];
  constexpr u32 kSelfInitializing = 1u << 8;
  constexpr u32 kLineSize = 64;
  return {c.type | c.level << 5 | kSelfInitializing, (kLineSize - 1) | (c.ways - 1) << 22,
          c.sets - 1, 0};
}

CpuidResult basic(u32 leaf, u32 subleaf) {
  switch (leaf) {
    case 0:  // "GenuineIntel"
      return {kMaxLeaf, 0x756E6547, 0x6C65746E, 0x49656E69};
    case 1:
      return {kCpuSignature, 0, 0, kFeatures};
    case 2:  // 0xFF: the caches are in leaf 4
      return {0x00FF0001, 0, 0, 0};
    case 4:
      return cache(subleaf);
    case 0x15:
      return {1, kTscNumerator, kCrystalHz, 0};
    case 0x16:  // base and maximum frequency in MHz
      return {kTscHz / 1'000'000, kTscHz / 1'000'000, 0, 0};
    default:
      return {};
  }
}

}  // namespace

CpuidResult cpuid(u32 leaf, u32 subleaf) {
  switch (leaf) {
    case 0x80000000:
      return {kMaxExtendedLeaf, 0, 0, 0};
    case 0x80000002:
    case 0x80000003:
    case 0x80000004:
      return brand_part(leaf - 0x80000002);
    case 0x80000007:  // the TSC runs at a constant rate in all power states
      return {0, 0, 0, 1u << 8};
    case 0x80000008:  // 32 bits of physical and of linear address
      return {32 | 32 << 8, 0, 0, 0};
    default:
      break;
  }
  if (leaf >= 0x80000000 && leaf <= kMaxExtendedLeaf) return {};
  // Any other leaf answers as the highest basic one (Intel SDM Vol. 2A, CPUID).
  return basic(leaf <= kMaxLeaf ? leaf : kMaxLeaf, subleaf);
}

}  // namespace snowglobe::vm
