"""Names for sandboxes whose user gave none: easy to say, rarely the same twice."""

ADJECTIVES = (
    "amber", "bold", "brave", "brisk", "calm", "clear", "clever", "cosy", "crisp", "eager", "early", "fair",
    "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand", "green", "happy", "hazel", "jolly", "keen",
    "kind", "late", "light", "lively", "lucky", "mellow", "merry", "mild", "neat", "noble", "plain", "proud",
    "quick", "quiet", "rapid", "ready", "royal", "sharp", "silver", "smart", "snug", "solid", "sunny",
    "swift", "tidy", "vivid", "warm", "wise",
)  # fmt: skip
NOUNS = (
    "badger", "beaver", "bison", "crane", "deer", "dove", "eagle", "falcon", "finch", "fox", "goose", "hare",
    "hawk", "heron", "ibis", "jay", "kite", "koala", "lark", "lemur", "lion", "lynx", "marten", "mole",
    "moose", "newt", "otter", "owl", "panda", "pike", "plover", "puma", "quail", "raven", "robin", "seal",
    "shrew", "sparrow", "stork", "swan", "tapir", "tern", "tiger", "toad", "trout", "turtle", "vole",
    "walrus", "wolf", "wren", "yak", "zebra",
)  # fmt: skip


def name_from(number: int) -> str:
    """The name that a random number of 32 bits stands for: `brisk-otter-3fa2`."""
    number, tail = divmod(number, 0x10000)
    number, noun = divmod(number, len(NOUNS))
    return f"{ADJECTIVES[number % len(ADJECTIVES)]}-{NOUNS[noun]}-{tail:04x}"
