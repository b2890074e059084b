// snapshots/hash.cc - SHA-256 by OpenSSL, which picks the processor's best way.
#include "snapshots/hash.h"

#include "base/check.h"

#include <openssl/evp.h>

namespace snowglobe::snapshots {

namespace {

// Fetching an algorithm takes longer than hashing a short text: once for the process.
const EVP_MD* sha256() {
  static const EVP_MD* const algorithm = EVP_MD_fetch(nullptr, "SHA256", nullptr);
  SG_ASSERT(algorithm != nullptr, "OpenSSL has no SHA-256");
  return algorithm;
}

EVP_MD_CTX* context_of(void* context) {
  return static_cast<EVP_MD_CTX*>(context);
}

}  // namespace

Hasher::Hasher() : context_(EVP_MD_CTX_new()) {
  SG_ASSERT(context_ != nullptr && EVP_DigestInit_ex(context_of(context_), sha256(), nullptr) == 1,
            "SHA-256 does not start");
}

Hasher::~Hasher() {
  EVP_MD_CTX_free(context_of(context_));
}

void Hasher::update(base::ConstBytes bytes) {
  SG_ASSERT(EVP_DigestUpdate(context_of(context_), bytes.data(), bytes.size()) == 1, "SHA-256");
}

ChunkHash Hasher::finish() {
  ChunkHash hash;
  SG_ASSERT(EVP_DigestFinal_ex(context_of(context_), hash.data(), nullptr) == 1, "SHA-256");
  return hash;
}

ChunkHash hash_of(base::ConstBytes bytes) {
  Hasher hasher;
  hasher.update(bytes);
  return hasher.finish();
}

std::uint64_t check_of(base::ConstBytes bytes) {
  return base::load_le<std::uint64_t>(hash_of(bytes).data());
}

std::string to_hex(base::ConstBytes bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

}  // namespace snowglobe::snapshots
