// cli/doctor_image.cc - what `doctor` says about the guest image's files: that each is as its
// manifest says, and that the ready and the bare state beside it belong to it.
#include "cli/doctor_checks.h"
#include "cli/failure.h"
#include "cli/json.h"
#include "cli/terminal.h"
#include <fmt/format.h>
#include <fstream>
#include <memory>
#include <openssl/evp.h>

namespace snowglobe::cli {
namespace fs = std::filesystem;
namespace {

constexpr const char* kAgain =
    "make the image again (./dev guest), or copy all of its folder again";

/// In hexadecimal digits; empty if it cannot be read.
std::string sha256_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(),
                                                                        &EVP_MD_CTX_free);
  if (!file || !context || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return {};
  std::vector<char> block(1 << 18);
  while (file.read(block.data(), static_cast<std::streamsize>(block.size())), file.gcount() > 0)
    EVP_DigestUpdate(context.get(), block.data(), static_cast<std::size_t>(file.gcount()));
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned length = 0;
  if (file.bad() || EVP_DigestFinal_ex(context.get(), digest, &length) != 1) return {};
  std::string text;
  for (unsigned i = 0; i < length; ++i)
    text += fmt::format("{:02x}", digest[i]);
  return text;
}

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  Json json = Json::parse(file, nullptr, false);
  return json.is_object() ? json : Json::object();
}

std::string text_at(const Json& json, const char* key) {
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// What is wrong with a state, or nothing.
std::string fault_of(const Info& info, const std::string& name) {
  const Json about = read_json(info.image / (name + ".json"));
  if (about.empty()) return fmt::format("there is no {} state", name);
  if (text_at(about, "image_id") != info.image_id)
    return fmt::format("the {} state is of another image", name);
  if (sha256_of(info.image / (name + ".snap")) != text_at(about, "sha256"))
    return fmt::format("{}.snap is damaged", name);
  return {};
}

}  // namespace

Finding image_files(const Info& info) {
  if (info.image.empty()) return {Verdict::ok, "in the program itself"};
  const Json manifest = read_json(info.image / "manifest.json");
  const Json files = manifest.value("files", Json::object());
  std::uint64_t bytes = 0;
  for (const auto& [name, about] : files.items()) {
    const fs::path path = info.image / name;
    if (!about.is_object() || sha256_of(path) != text_at(about, "sha256"))
      return {Verdict::failure, fmt::format("{} is not what the manifest says", path.string()),
              kAgain};
    bytes += fs::file_size(path);
  }
  return {Verdict::ok, fmt::format("{}: version {}, id {}, {} files of {} as their hashes say",
                                   info.image.string(), text_at(manifest, "version"),
                                   info.image_id.substr(0, 12), files.size(), human_bytes(bytes))};
}

Finding ready_states(const Info& info) {
  if (info.image.empty()) return {Verdict::ok, "in the program itself"};
  std::string faults;
  for (const char* name : {"ready", "bare"})
    if (const std::string fault = fault_of(info, name); !fault.empty())
      faults += (faults.empty() ? "" : "; ") + fault;
  if (faults.empty()) return {Verdict::ok, "ready and bare state are of this image, and whole"};
  return {Verdict::warning, faults + ": starts take seconds, the first of them at least", kAgain};
}

}  // namespace snowglobe::cli
