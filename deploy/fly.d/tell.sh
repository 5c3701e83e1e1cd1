# shellcheck shell=bash
# What is told to whoever runs it. Nothing here ever gets a secret.

# What is done next, and why.
say() { printf '\n== %s\n' "$*"; }
note() { printf '   %s\n' "$*"; }

die() {
    printf '\nfly.sh: %s\n' "$*" >&2
    exit 1
}

die_usage() {
    printf 'fly.sh: %s\n' "$*" >&2
    exit 64
}

# Whatever holds a password is cut out of what flyctl says.
masked() { sed -E 's#(rediss?://)[^[:space:]]+#\1…#g'; }

what_to_do_at_twilio() {
    say "Textslash is at $public_url"
    cat <<TEXT
   At Twilio's console, open your WhatsApp sender (Messaging > Senders > WhatsApp senders; for the sandbox: Messaging >
   Try it out > Send a WhatsApp message > Sandbox settings) and set

       When a message comes in    $public_url/webhook    HTTP Post

   Leave the status callback empty: every message names its own. Then write "help" to your number from a phone that is allowed.

   Fly.io alerts nobody by itself. How to be, and how to see dashboards: docs/operations.md, "Dashboards and alerts at Fly.io".
TEXT
}
