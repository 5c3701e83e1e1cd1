# shellcheck shell=bash
# What has to be known: from the environment, else from whoever sits at the terminal (or what is piped in).

# What each value must look like, and how it is asked for.
declare -A form question
form[TEXTSLASH_APP]='[a-z][a-z0-9-]{1,48}[a-z0-9]'
question[TEXTSLASH_APP]='A name that is free at Fly; the address becomes https://NAME.fly.dev'
form[TEXTSLASH_REGION]='[a-z]{3}'
question[TEXTSLASH_REGION]='The region, near you (flyctl platform regions)'
form[TEXTSLASH_ORG]='[a-z0-9-]+'
question[TEXTSLASH_ORG]='The organization at Fly (flyctl orgs list)'
form[TEXTSLASH_VMS]='(shared|each)'
question[TEXTSLASH_VMS]='One VM shared by everybody, or a machine for each person: shared or each'
form[TWILIO_ACCOUNT_SID]='AC[0-9a-f]{32}'
question[TWILIO_ACCOUNT_SID]='Twilio: the account SID, AC and 32 characters'
form[TWILIO_AUTH_TOKEN]='[0-9a-f]{32}(,[0-9a-f]{32})*'
question[TWILIO_AUTH_TOKEN]='Twilio: the auth token, 32 characters; while it is replaced, the new and the old one with a comma'
form[TWILIO_FROM]='whatsapp:\+[1-9][0-9]{6,14}'
question[TWILIO_FROM]='Twilio: your WhatsApp sender, such as whatsapp:+14155238886'
form[ALLOWED_PHONE_NUMBERS]='(\+[1-9][0-9]{6,14}|whatsapp:[+A-Za-z0-9.]+)(,(\+[1-9][0-9]{6,14}|whatsapp:[+A-Za-z0-9.]+))*'
question[ALLOWED_PHONE_NUMBERS]='Who may write, with commas, such as +15551230000'
form[ANTHROPIC_API_KEY]='sk-ant-[A-Za-z0-9_-]+'
question[ANTHROPIC_API_KEY]='The Anthropic API key; nothing for the demo agent'
form[GITHUB_TOKEN]='(gh[a-z]_|github_pat_)[A-Za-z0-9_]+'
question[GITHUB_TOKEN]='A GitHub token that may push and open pull requests; nothing if there is none yet'
form[TWILIO_API_KEY]='SK[0-9a-f]{32}'
question[TWILIO_API_KEY]='Twilio: an API key, SK and 32 characters'
form[TWILIO_API_SECRET]='[A-Za-z0-9]{32}'
question[TWILIO_API_SECRET]='Twilio: the secret of that API key'
form[TWILIO_APPROVAL_CONTENT_SID]='HX[0-9a-f]{32}'
question[TWILIO_APPROVAL_CONTENT_SID]='Twilio: the template that "relay admin twilio-template" made for a diff'
form[TWILIO_INQUIRY_CONTENT_SIDS]='HX[0-9a-f]{32},HX[0-9a-f]{32}'
question[TWILIO_INQUIRY_CONTENT_SIDS]='Twilio: the templates that it made for questions, with a comma'
form[CONSOLE_TOKEN]='[A-Za-z0-9_-]{32,}'
question[CONSOLE_TOKEN]='What opens the web console, 32 characters or more'
form[ADMIN_TOKEN]='[A-Za-z0-9_-]{32,}'
question[ADMIN_TOKEN]='What opens the control UI, 32 characters or more'
form[LINK_KEYS]='[A-Za-z0-9]+:[A-Za-z0-9_-]{32,}(,[A-Za-z0-9]+:[A-Za-z0-9_-]{32,})*'
question[LINK_KEYS]='Keys of links, ID:SECRET with 32 characters or more, with commas; the first signs'

# No child process has any of them in its environment.
export -n "${!form[@]}"

# What is known by now, and what is wrong with what was given.
declare -A value
faults=()

# ask NAME [DEFAULT]: fills value[NAME]. Without a default it has to be given; an empty one may stay empty.
ask() {
    local name=$1 given=${!1-}
    for _ in 1 2 3; do
        [ -n "$given" ] || given=$(answer "$name" "${2-}")
        given=${given:-${2-}}
        if { [ -z "$given" ] && [ $# -gt 1 ]; } || [[ $given =~ ^${form[$name]}$ ]]; then
            value[$name]=$given
            return
        fi
        [ -t 0 ] || break
        note "That is not what $name looks like." >&2
        given=''
    done
    if [ -z "$given" ]; then faults+=("$name is required, but not set"); else faults+=("$name does not look like one: ${question[$name]}"); fi
}

# What is typed, or stands in the next line of what is piped in; nothing where there is nobody to ask.
answer() {
    local line='' shown=${2:+ [$2]}
    if [ -t 0 ]; then
        local hide=()
        [[ $1 == TEXTSLASH_* || $1 == TWILIO_FROM || $1 == ALLOWED_* ]] || hide=(-s)
        read -r "${hide[@]}" -p "   ${question[$1]}$shown: " line || true
        [ ${#hide[@]} -eq 0 ] || echo >&2
    else
        read -r line || true
    fi
    printf %s "$line"
}

# All that is wrong is told at once.
end_with_faults() {
    [ ${#faults[@]} -eq 0 ] || die_usage "$(printf '%s\n  ' "these are wrong:" "${faults[@]}")"
}

# The name has to be typed: nothing is destroyed by a slip.
confirm() {
    local typed=''
    [ ! -t 0 ] || printf '   Type %s to go on: ' "$1"
    read -r typed || true
    [ "$typed" = "$1" ] || die "nothing was destroyed: what was typed is not $1. Scripts say --yes."
}
