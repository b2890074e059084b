// snapshots/view.cc - looking things up in what was loaded of the catalogue.
#include "snapshots/catalogue.h"

#include <algorithm>

namespace snowglobe::snapshots {

namespace {

template <class Rows>
auto find_by_number(const Rows& rows, std::uint64_t number) -> decltype(rows.data()) {
  const auto found =
      std::lower_bound(rows.begin(), rows.end(), number,
                       [](const auto& row, std::uint64_t wanted) { return row.number < wanted; });
  return found != rows.end() && found->number == number ? &*found : nullptr;
}

base::Error bad_base(const SnapshotRow& row) {
  return {base::ErrorCode::kCorrupt, "the store's catalogue is damaged: the list of snapshot '" +
                                         row.info.label() + "' leans on one that is not there"};
}

}  // namespace

const SnapshotRow* View::find(const SnapshotId& id) const {
  const auto found = std::find_if(snapshots.begin(), snapshots.end(),
                                  [&](const SnapshotRow& row) { return row.info.id == id; });
  return found != snapshots.end() ? &*found : nullptr;
}

const SnapshotRow* View::find_number(std::uint64_t number) const {
  return find_by_number(snapshots, number);
}

const SnapshotRow* View::find_name(std::string_view name) const {
  if (name.empty()) return nullptr;
  const auto found = std::find_if(snapshots.begin(), snapshots.end(), [&](const SnapshotRow& row) {
    return row.info.metadata.name == name;
  });
  return found != snapshots.end() ? &*found : nullptr;
}

const PackRow* View::find_pack(std::uint64_t number) const {
  return find_by_number(packs, number);
}

base::Result<SnapshotIds> ids_of(const View& view, const SnapshotRow& row) {
  // From the last base, which leans on none, to the snapshot itself. A base has a smaller number,
  // so this ends.
  std::vector<const SnapshotRow*> chain{&row};
  while (chain.back()->base.has_value()) {
    const std::uint64_t number = *chain.back()->base;
    const SnapshotRow* const base = view.find_number(number);
    if (base == nullptr || number >= chain.back()->number) return bad_base(row);
    if (chain.size() > kMaxListDepth) return bad_base(row);
    chain.push_back(base);
  }
  SnapshotIds ids;
  for (auto at = chain.rbegin(); at != chain.rend(); ++at) {
    auto decoded = decode_list((*at)->list, (*at)->base.has_value() ? &ids : nullptr);
    if (!decoded.ok()) return decoded.error();
    ids = std::move(decoded).value();
  }
  return ids;
}

}  // namespace snowglobe::snapshots
