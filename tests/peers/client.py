"""Twilio's own client library against a stand-in for Twilio: what it can do with the real one it can do there.

usage: client.py BASE_URL ACCOUNT_SID AUTH_TOKEN; prints one JSON object.
"""

import json
import sys
from datetime import datetime, timedelta, timezone

from twilio.base.exceptions import TwilioRestException
from twilio.rest import Client

base, account, token = sys.argv[1:4]
SENDER, PERSON = "whatsapp:+14155238886", "whatsapp:+15551230000"


def client(secret):
    made = Client(account, secret)
    made.api.base_url = base
    return made


def refused(call):
    try:
        call()
    except TwilioRestException as error:
        return [error.status, error.code]
    return None


messages = client(token).messages
sent = messages.create(to=PERSON, from_=SENDER, body="*hello* 🎉")
told = {
    "created": [sent.sid[:2], sent.status, sent.body, sent.direction],
    "too_long": refused(lambda: messages.create(to=PERSON, from_=SENDER, body="x" * 1601)),
    "no_body": refused(lambda: messages.create(to=PERSON, from_=SENDER)),
    "wrong_token": refused(lambda: client("wrong").messages.create(to=PERSON, from_=SENDER, body="x")),
    "no_template": refused(lambda: messages.create(to=PERSON, from_=SENDER, content_sid="HX" + "0" * 32)),
}
for number in range(3):
    messages.create(to=PERSON, from_=SENDER, body=f"number {number}")
listed = messages.list(to=PERSON, from_=SENDER, page_size=2)
told["listed"] = [message.body for message in listed]
told["dated"] = all(message.date_created is not None and message.date_created.tzinfo is not None for message in listed)
today = datetime.now(timezone.utc)
told["of_today"] = len(messages.list(from_=SENDER, date_sent_after=today - timedelta(days=1)))
told["of_tomorrow"] = len(messages.list(from_=SENDER, date_sent_after=today + timedelta(days=2)))
messages(sent.sid).update(body="")
told["redacted"] = [message.body for message in messages.list(to=PERSON, from_=SENDER)][-1]
print(json.dumps(told))
