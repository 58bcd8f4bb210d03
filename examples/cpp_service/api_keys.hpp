// Who may ask: requests that bring one of the keys.
#pragma once

#include <string>
#include <vector>

namespace service {

class ApiKeys {
public:
    // From a file with a key a line, or, where `file` is empty, from the environment variable TRBERT_API_KEY; with
    // neither nobody needs a key. Throws std::runtime_error where there are none in the file, or one can be no key.
    explicit ApiKeys(const std::string& file);

    // authorization: the header's value, "Bearer KEY".
    bool admit(const std::string& authorization) const;

private:
    void add(std::string key, const std::string& source);

    std::vector<std::string> keys_;
};

}  // namespace service
