#include <iostream>
#include <trbert/trbert.hpp>

int main(int count, char** words) {
    if (count != 2) return 2;
    try {
        trbert::Engine engine(words[1]);
        engine.verify().require_passed();
        const trbert::Batch batch = engine.tokenize({{"A wonderful film."}, {"a text", "and its pair"}});
        const trbert::Output output = engine.run(batch.inputs, true);
        if (output.at("logits").shape.at(0) != 2 || output.kept.size() != engine.description().reductions) return 1;
        std::cout << engine.predict({R"({"text": "A wonderful film."})"}).front() << '\n';
        return 0;
    } catch (const trbert::Error& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
