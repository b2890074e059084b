// tests/packaging/outside/main.cc - the least that a program outside of this tree does. Prints
// where the image was found, for the test to look at.
#include <snowglobe/snowglobe.hpp>

#include <iostream>

int main() {
  try {
    auto db = snowglobe::Database::open_in_memory();
    std::cout << "image " << db.info().image.string() << "\nanswer " << db.one<int>("select 6 * 7")
              << '\n';
    return 0;
  } catch (const snowglobe::Error& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
