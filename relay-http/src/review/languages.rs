//! What the colours of code need to know of a language.
//!
//! This is less than a grammar, on purpose. Grammars as editors have them (syntect's) were tried: 13 languages took 150 MB of
//! memory that is never given back, and one page of TypeScript half a second; parsers in C would read what strangers wrote in a
//! process that holds secrets. What is here takes one look at each sign and no memory.

/// A language.
#[derive(Debug)]
pub(super) struct Language {
    /// What begins a comment that goes on to the end of the line.
    pub(super) comments: &'static [&'static str],
    /// What is read as one, up to its end; longer openings first.
    pub(super) spans: &'static [Span],
    /// Words with a meaning of their own, with spaces between.
    pub(super) words: &'static str,
    /// Whether these words may be written in capitals.
    pub(super) any_case: bool,
    /// Whether a word that begins with a capital names a kind of thing.
    pub(super) kinds: bool,
    /// Whether a single `'` begins something else than a text more often than not.
    pub(super) lifetimes: bool,
    /// What follows the name of a value at the beginning of a line.
    pub(super) key: Option<char>,
    /// Whether everything but what is between `<` and `>` is text.
    pub(super) markup: bool,
}

/// A text or a comment with two ends.
#[derive(Debug)]
pub(super) struct Span {
    pub(super) open: &'static str,
    pub(super) close: &'static str,
    /// Whether a backslash takes its meaning from the sign after it.
    pub(super) escapes: bool,
    /// Whether it may go on in the next line.
    pub(super) lines: bool,
    pub(super) class: &'static str,
}

const fn text(quote: &'static str) -> Span {
    Span { open: quote, close: quote, escapes: true, lines: false, class: "s" }
}

const fn long(quote: &'static str) -> Span {
    Span { open: quote, close: quote, escapes: true, lines: true, class: "s" }
}

const fn raw(open: &'static str, close: &'static str) -> Span {
    Span { open, close, escapes: false, lines: true, class: "s" }
}

const fn comment(open: &'static str, close: &'static str) -> Span {
    Span { open, close, escapes: false, lines: true, class: "c" }
}

/// Named alike nearly everywhere, and no keywords: `true` and what is not there.
pub(super) const CONSTANTS: &str = "true false null nil None True False undefined NULL nullptr NaN Infinity yes no";

const PLAIN: Language = Language {
    comments: &[],
    spans: &[],
    words: "",
    any_case: false,
    kinds: false,
    lifetimes: false,
    key: None,
    markup: false,
};

/// With comments as in C.
const C_LIKE: Language =
    Language { comments: &["//"], spans: &[comment("/*", "*/"), text("\""), text("'")], kinds: true, ..PLAIN };

/// With comments as in a shell.
const HASHED: Language = Language { comments: &["#"], spans: &[text("\""), text("'")], ..PLAIN };

static RUST: Language = Language {
    spans: &[comment("/*", "*/"), raw("r#\"", "\"#"), raw("r\"", "\""), long("\""), text("'")],
    words: "as async await break const continue crate dyn else enum extern fn for if impl in let loop match mod \
        move mut pub ref return self Self static struct super trait type unsafe use where while",
    lifetimes: true,
    ..C_LIKE
};
static JAVASCRIPT: Language = Language {
    spans: &[comment("/*", "*/"), long("`"), text("\""), text("'")],
    words: "abstract any as async await boolean break case catch class const continue declare default delete do \
        else enum export extends finally for from function get if implements import in instanceof interface \
        keyof let namespace never new number of private protected public readonly return satisfies set \
        static string super switch this throw try type typeof unknown var void while yield",
    ..C_LIKE
};
static PYTHON: Language = Language {
    spans: &[long("\"\"\""), long("'''"), text("\""), text("'")],
    words: "and as assert async await break case class continue def del elif else except finally for from global \
        if import in is lambda match nonlocal not or pass raise return self try while with yield",
    kinds: true,
    ..HASHED
};
static GO: Language = Language {
    spans: &[comment("/*", "*/"), raw("`", "`"), text("\""), text("'")],
    words: "any bool break byte case chan const continue default defer else error fallthrough float64 for func \
        go goto if import int int64 interface map package range return rune select string struct switch type \
        uint64 var",
    ..C_LIKE
};
static C: Language = Language {
    words: "#define #elif #else #endif #if #ifdef #ifndef #include #pragma auto bool break case catch char class \
        const constexpr continue default delete do double else enum explicit extern final float for friend \
        goto if inline int long mutable namespace new noexcept operator override private protected public \
        register return short signed sizeof static struct switch template this throw try typedef typename \
        union unsigned using virtual void volatile while",
    ..C_LIKE
};
static JAVA: Language = Language {
    spans: &[comment("/*", "*/"), long("\"\"\""), text("\""), text("'")],
    words: "abstract as async await bool boolean break byte case catch char class companion const constructor \
        continue data default defer do double else enum extends extension final finally float for foreach \
        fun func get guard if implements import in init instanceof int interface internal is lateinit let \
        long namespace native new object open operator out override package private protected protocol \
        public readonly record return sealed self set short static string struct super suspend switch \
        synchronized this throw throws try typealias using val var virtual void volatile when where while \
        yield",
    ..C_LIKE
};
static PHP: Language = Language {
    comments: &["//", "#"],
    words: "abstract array as bool break case catch class const continue default do echo else elseif extends \
        final finally float fn for foreach function if implements int interface match mixed namespace new \
        private protected public readonly return self static string switch this throw trait try use var void \
        while yield",
    ..C_LIKE
};
static RUBY: Language = Language {
    words: "alias and attr_accessor attr_reader begin break case class def defined do else elsif end ensure for \
        if in include module next not or private raise require rescue return self super then unless until \
        when while yield",
    kinds: true,
    ..HASHED
};
static SHELL: Language = Language {
    spans: &[long("\""), raw("'", "'")],
    words: "case declare do done elif else esac eval exec exit export fi for function if in local readonly \
        return set shift source then trap unset until while ADD ARG AS CMD COPY ENTRYPOINT ENV EXPOSE FROM \
        HEALTHCHECK LABEL RUN SHELL STOPSIGNAL USER VOLUME WORKDIR",
    ..HASHED
};
static SQL: Language = Language {
    comments: &["--"],
    spans: &[comment("/*", "*/"), raw("'", "'"), text("\"")],
    words: "add all alter and as asc begin between by case check column commit constraint create cross default \
        delete desc distinct drop else end exists foreign from full group having if in index inner insert \
        integer into is join key left like limit not on or order outer primary references right rollback \
        select set table text then union unique update using values view when where with",
    any_case: true,
    ..PLAIN
};
static LUA: Language = Language {
    comments: &["--"],
    spans: &[comment("--[[", "]]"), raw("[[", "]]"), text("\""), text("'")],
    words: "and break do else elseif end for function goto if in local not or repeat return then until while",
    ..PLAIN
};
static CSS: Language = Language {
    comments: &[],
    words: "@container @font-face @import @keyframes @layer @media @property @supports @use",
    kinds: false,
    key: Some(':'),
    ..C_LIKE
};
static JSON: Language = Language { spans: &[comment("/*", "*/"), text("\"")], kinds: false, key: Some(':'), ..C_LIKE };
static TOML: Language =
    Language { spans: &[long("\"\"\""), long("'''"), text("\""), text("'")], key: Some('='), ..HASHED };
static YAML: Language = Language { key: Some(':'), ..HASHED };
static HTML: Language = Language { spans: &[comment("<!--", "-->"), text("\""), text("'")], markup: true, ..PLAIN };

/// The language of a file, by its whole name or by what that ends with.
pub(super) fn of(path: &str) -> Option<&'static Language> {
    let name = path.rsplit('/').next()?;
    let ending = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    Some(match (name, ending) {
        ("Dockerfile" | "Containerfile" | "Makefile" | "justfile", _) => &SHELL,
        (name, _) if name.starts_with("Dockerfile.") => &SHELL,
        ("Gemfile" | "Rakefile", _) | (_, "rb") => &RUBY,
        (_, "rs") => &RUST,
        (_, "js" | "mjs" | "cjs" | "jsx" | "ts" | "mts" | "cts" | "tsx") => &JAVASCRIPT,
        (_, "py" | "pyi") => &PYTHON,
        (_, "go") => &GO,
        (_, "c" | "h" | "cc" | "cpp" | "cxx" | "hpp" | "hh" | "m" | "mm" | "proto") => &C,
        (_, "java" | "kt" | "kts" | "cs" | "swift" | "scala" | "dart" | "groovy" | "gradle") => &JAVA,
        (_, "php") => &PHP,
        (_, "sh" | "bash" | "zsh" | "mk") => &SHELL,
        (_, "sql") => &SQL,
        (_, "lua") => &LUA,
        (_, "css" | "scss" | "less") => &CSS,
        (_, "json" | "jsonc" | "json5") => &JSON,
        ("Cargo.lock", _) | (_, "toml" | "ini" | "cfg" | "conf" | "env" | "properties") => &TOML,
        (_, "yaml" | "yml" | "tf" | "hcl" | "nix") => &YAML,
        (_, "html" | "htm" | "xml" | "svg" | "vue" | "svelte" | "xhtml") => &HTML,
        _ => return None,
    })
}
