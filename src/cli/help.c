/* SPDX-License-Identifier: Apache-2.0 */
/* Help, docs/cli.md and shell completion, all made from command_table and option_table. */
#include "base/buf.h"
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { SHARED = TAKES_MODEL | TAKES_RUNTIME | TAKES_TEXTS | TAKES_TOKENS };
static const struct section {
    uint32_t groups;
    const char *title, *anchor;
} sections[] = {
    { ~(uint32_t)SHARED, "Options of this command", NULL },
    { TAKES_TEXTS | TAKES_TOKENS, "Texts and results", "texts-and-results" },
    { TAKES_MODEL, "Model", "model" },
    { TAKES_RUNTIME, "Machine", "machine" },
};
enum { SECTIONS = sizeof sections / sizeof *sections, LEFT = 28, WIDTH = 100 };
static const uint32_t everyone = (uint32_t)-1;

static const char about[] = "Hugging Face encoder models on Rockchip NPUs and on CPUs.";
static const char environment[] =
    "Every option has an environment variable: RKFORMER_ and its name in capitals, for example "
    "RKFORMER_CORE_MASK=0_1; flags are 1 or 0. Arguments come before the environment.";
static const char texts[] =
    "Texts are arguments, or lines of --input FILE (- is standard input), or of standard input if it is no terminal. "
    "Every line is a text, empty ones too. With --jsonl, or a FILE that ends in .jsonl, each line is a JSON string or "
    "an object with \"text\" (pairs: and \"text_pair\"). -- ends the options. Answers are JSON lines in input order; "
    "\"truncated\":N says that N tokens were cut.";
static const char statuses[] = "Exit status: 0; 1 the work failed; 2 wrong usage.";

/* An option that commands share belongs to its shared section, even where a command takes it on its own account. */
static bool in_section(const struct option *opt, const struct section *s)
{
    uint32_t groups = opt->groups == everyone || !(opt->groups & SHARED) ? opt->groups & ~(uint32_t)SHARED
                                                                         : opt->groups & SHARED;
    return (groups & s->groups) != 0;
}

/* "-m, --model MODEL", "--normalize, --no-normalize" */
static void put_names(struct buf *b, const struct option *opt)
{
    char word[64];
    if (opt->letter)
        buf_printf(b, "-%c, ", opt->letter);
    buf_printf(b, "--%s", opt->name);
    if (opt->kind == OPTION_SWITCH)
        buf_printf(b, ", --no-%s", opt->name);
    if (!option_takes_value(opt))
        return;
    buf_putc(b, ' ');
    if (!opt->choices)
        buf_puts(b, opt->value);
    for (size_t i = 0; opt->choices && option_word(opt, i, word, sizeof word); i++)
        buf_printf(b, "%s%s", i ? "|" : "", word);
}

/* Text broken at spaces to WIDTH columns, lines after the first indented. */
static void put_wrapped(struct buf *b, const char *text, size_t column, size_t indent)
{
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (column + word > WIDTH && column > indent) {
            buf_printf(b, "\n%*s", (int)indent, "");
            column = indent;
        }
        buf_append(b, text, word);
        column += word;
        text += word;
        if (*text == ' ') {
            text++;
            if (*text && column + 1 + strcspn(text, " \n") <= WIDTH)
                buf_putc(b, ' ');
            column++;
        }
    }
    buf_putc(b, '\n');
}

static void put_option(struct buf *b, const struct option *opt)
{
    struct buf names;
    buf_init(&names, 1 << 12);
    put_names(&names, opt);
    const char *left = names.p ? names.p : "";
    if (strlen(left) + 4 > LEFT)
        buf_printf(b, "  %s\n%*s", left, LEFT, "");
    else
        buf_printf(b, "  %-*s", LEFT - 2, left);
    put_wrapped(b, opt->help, LEFT, LEFT);
    buf_free(&names);
}

static void put_examples(struct buf *b, const char *examples, const char *before)
{
    while (examples && *examples) {
        size_t n = strcspn(examples, "\n");
        buf_printf(b, "%s%.*s\n", before, (int)n, examples);
        examples += n + (examples[n] == '\n');
    }
}

static void put_command(struct buf *b, const struct command *c)
{
    buf_printf(b, "rkformer %s %s\n\n", c->name, c->usage);
    buf_printf(b, "%s\n\n", c->summary);
    put_wrapped(b, c->details, 0, 0);
    if (c->examples) {
        buf_puts(b, "\nExamples:\n");
        put_examples(b, c->examples, "  ");
    }
    for (size_t s = 0; s < SECTIONS; s++) {
        bool titled = false;
        for (size_t i = 0; i < option_count; i++) {
            if (!option_belongs(&option_table[i], c) || !in_section(&option_table[i], &sections[s]))
                continue;
            if (!titled)
                buf_printf(b, "\n%s:\n", sections[s].title);
            titled = true;
            put_option(b, &option_table[i]);
        }
    }
    buf_putc(b, '\n');
    if (c->takes & TAKES_TEXTS) {
        put_wrapped(b, texts, 0, 0);
        buf_putc(b, '\n');
    }
    put_wrapped(b, environment, 0, 0);
    put_wrapped(b, statuses, 0, 0);
}

void help_put(struct buf *b, const struct command *command)
{
    if (command) {
        put_command(b, command);
        return;
    }
    buf_printf(b, "rkformer: %s\n\nrkformer COMMAND -m MODEL [options] [TEXT...]\n\nCommands:\n", about);
    for (size_t i = 0; command_at(i); i++)
        buf_printf(b, "  %-12s %s\n", command_at(i)->name, command_at(i)->summary);
    buf_puts(b, "\nrkformer COMMAND --help tells more; rkformer --version the version.\n\n");
    put_wrapped(b, texts, 0, 0);
    buf_putc(b, '\n');
    put_wrapped(b, environment, 0, 0);
    put_wrapped(b, statuses, 0, 0);
}

/* ---- Markdown */

static void put_cell(struct buf *b, const char *text)
{
    for (; *text; text++)
        buf_printf(b, *text == '|' ? "\\%c" : "%c", *text);
}

static void put_option_row(struct buf *b, const struct option *opt)
{
    char env[64];
    struct buf names;
    buf_init(&names, 1 << 12);
    put_names(&names, opt);
    option_env_name(opt, env, sizeof env);
    buf_puts(b, "| `");
    put_cell(b, names.p ? names.p : "");
    buf_puts(b, "` | ");
    put_cell(b, opt->help);
    buf_printf(b, opt->groups == everyone ? " | |\n" : " | `%s` |\n", env);
    buf_free(&names);
}

/* command NULL: of all commands */
static void put_option_rows(struct buf *b, const struct command *command, const struct section *s)
{
    bool begun = false;
    for (size_t i = 0; i < option_count; i++) {
        const struct option *opt = &option_table[i];
        if (!in_section(opt, s) || opt->groups == everyone || (command && !option_belongs(opt, command)))
            continue;
        if (!begun)
            buf_puts(b, "| option | meaning (default) | environment |\n|---|---|---|\n");
        begun = true;
        put_option_row(b, opt);
    }
    if (begun)
        buf_putc(b, '\n');
}

static void put_markdown_command(struct buf *b, const struct command *c)
{
    bool first = true;
    buf_printf(b, "## rkformer %s\n\n```\nrkformer %s %s\n```\n\n%s\n\n", c->name, c->name, c->usage, c->details);
    if (c->examples) {
        buf_puts(b, "```\n");
        put_examples(b, c->examples, "");
        buf_puts(b, "```\n\n");
    }
    put_option_rows(b, c, &sections[0]);
    for (size_t s = 1; s < SECTIONS; s++)
        if (c->takes & sections[s].groups) {
            buf_printf(b, "%s[%s](#%s)", first ? "And the options of: " : ", ", sections[s].title, sections[s].anchor);
            first = false;
        }
    buf_puts(b, first ? "" : ".\n\n");
}

void help_put_markdown(struct buf *b)
{
    buf_printf(
        b,
        "# The command rkformer\n\n<!-- Made by `rkformer help --markdown` from the tables in src/cli: change "
        "those. -->\n\n%s\n\n```\nrkformer COMMAND -m MODEL [options] [TEXT...]\n```\n\n%s\n\n%s\n\n%s Errors go "
        "to standard error as `rkformer: what happened: what to do`. A closed pipe ends the command quietly.\n\n",
        about, texts, environment, statuses);
    buf_puts(b, "| command | |\n|---|---|\n");
    for (size_t i = 0; command_at(i); i++)
        buf_printf(b, "| [`%s`](#rkformer-%s) | %s |\n", command_at(i)->name, command_at(i)->name,
                   command_at(i)->summary);
    buf_putc(b, '\n');
    for (size_t i = 0; command_at(i); i++)
        put_markdown_command(b, command_at(i));
    for (size_t s = 1; s < SECTIONS; s++) {
        buf_printf(b, "## %s\n\n", sections[s].title);
        put_option_rows(b, NULL, &sections[s]);
    }
    if (b->len > 1 && !b->failed)
        b->p[--b->len] = 0; /* one newline at the end is enough */
}

/* ---- bash */

static void put_bash_options(struct buf *b, const struct command *c)
{
    buf_printf(b, "        %s) words=\"", c->name);
    for (size_t i = 0; i < option_count; i++)
        if (option_belongs(&option_table[i], c)) {
            buf_printf(b, " --%s", option_table[i].name);
            if (option_table[i].kind == OPTION_SWITCH)
                buf_printf(b, " --no-%s", option_table[i].name);
        }
    buf_puts(b, "\" ;;\n");
}

static void put_bash_values(struct buf *b, const struct option *opt)
{
    char word[64];
    if (!option_word(opt, 0, word, sizeof word))
        return;
    buf_printf(b, "        --%s", opt->name);
    if (opt->letter)
        buf_printf(b, "|-%c", opt->letter);
    buf_puts(b, ") COMPREPLY=($(compgen -W \"");
    for (size_t i = 0; option_word(opt, i, word, sizeof word); i++)
        buf_printf(b, "%s%s", i ? " " : "", word);
    buf_puts(b, "\" -- \"$cur\")); return ;;\n");
}

void help_put_bash(struct buf *b)
{
    buf_puts(b, "# bash completion of rkformer: source <(rkformer completion bash)\n"
                "_rkformer() {\n"
                "    local cur=\"${COMP_WORDS[COMP_CWORD]}\" prev=\"${COMP_WORDS[COMP_CWORD-1]}\" words=\"\"\n"
                "    COMPREPLY=()\n"
                "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                "        COMPREPLY=($(compgen -W \"");
    for (size_t i = 0; command_at(i); i++)
        buf_printf(b, "%s ", command_at(i)->name);
    buf_puts(b, "--help --version\" -- \"$cur\"))\n"
                "        return\n"
                "    fi\n"
                "    case \"$prev\" in\n");
    for (size_t i = 0; i < option_count; i++)
        put_bash_values(b, &option_table[i]);
    buf_puts(b, "    esac\n"
                "    if [[ \"$cur\" != -* ]]; then\n"
                "        COMPREPLY=($(compgen -f -- \"$cur\"))\n"
                "        return\n"
                "    fi\n"
                "    case \"${COMP_WORDS[1]}\" in\n");
    for (size_t i = 0; command_at(i); i++)
        put_bash_options(b, command_at(i));
    buf_puts(b, "    esac\n"
                "    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                "}\n"
                "complete -o filenames -F _rkformer rkformer\n");
}
