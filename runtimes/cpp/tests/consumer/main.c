#include <stdio.h>
#include <trbert/trbert.h>

int main(int count, char** words) {
    trbert_engine* engine = NULL;
    char* answers = NULL;
    int failed = count != 2 || trbert_load(words[1], NULL, &engine) != TRBERT_OK ||
                 trbert_verify(engine) != TRBERT_OK ||
                 trbert_predict(engine, "{\"text\": \"A wonderful film.\"}\n", &answers) != TRBERT_OK;
    if (failed) {
        fprintf(stderr, "%s\n", trbert_last_error());
    } else {
        fputs(answers, stdout);
    }
    trbert_free_text(answers);
    trbert_free(engine);
    return failed;
}
