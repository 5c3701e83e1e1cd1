//! Who comes in, and that only their own forms do anything.

use super::*;

#[tokio::test]
async fn without_a_token_it_is_for_this_machine_alone() {
    let control = Control::new(&[]);
    assert_eq!(control.get("/admin").await.status, StatusCode::OK);
    let asked = async |from: &str, headers: &[(&'static str, &'static str)]| {
        let request =
            headers.iter().fold(Request::get("/admin"), |request, (name, value)| request.header(*name, *value));
        control.ask(request, from, String::new()).await.status
    };
    assert_eq!(asked(HERE, &[("host", "evil.example.com")]).await, StatusCode::NOT_FOUND, "a rebound name");
    assert_eq!(asked("203.0.113.9:1", &[("host", "localhost")]).await, StatusCode::NOT_FOUND);
    let proxied = [("host", "localhost"), ("x-forwarded-for", "203.0.113.9")];
    assert_eq!(asked(HERE, &proxied).await, StatusCode::NOT_FOUND);
    let public = Control::new(&[("PUBLIC_URL", "https://relay.example.com")]);
    assert_eq!(public.get("/admin").await.status, StatusCode::NOT_FOUND, "a proxy makes every caller look local");
    assert_eq!(public.sign_in("", HERE).await.status, StatusCode::NOT_FOUND, "there is no token to give");
}

#[tokio::test]
async fn with_a_token_nothing_is_shown_before_it_is_given() {
    let control = Control::with_token();
    control.starting("c0ffee0", "0001", "what they want").await;
    for path in PAGES {
        let answer = control.get(path).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path}");
        assert!(answer.text.contains("ADMIN_TOKEN") && !answer.text.contains("c0ffee0"), "{path}");
    }
    for path in ORDERS.iter().filter(|path| !path.ends_with("/session")) {
        assert_eq!(control.post(path, &[]).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    let wrong = control.sign_in("open-sesame", HERE).await;
    assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
    assert!(!wrong.headers.contains_key(header::SET_COOKIE) && wrong.text.contains("not the token"));

    let right = control.sign_in(TOKEN, HERE).await;
    assert_eq!((right.status, right.to()), (StatusCode::SEE_OTHER, "/admin"));
    let set = right.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(!set.contains("sesame"), "{set}");
    for attribute in ["HttpOnly", "SameSite=Strict", "Path=/admin", "Max-Age=43200"] {
        assert!(set.contains(attribute), "{set}");
    }
    for path in PAGES {
        assert_eq!(control.get_with(path, right.cookie()).await.status, StatusCode::OK, "{path}");
    }
    assert_eq!(control.deeds().await, [DeedKind::SignIn], "only who came in");
}

#[tokio::test]
async fn a_session_ends_by_itself_and_can_be_changed_by_nobody() {
    let control = Control::with_token();
    let cookie = control.sign_in(TOKEN, HERE).await.cookie().to_owned();
    let opens = async |cookie: &str| control.get_with("/admin/deeds", cookie).await.status == StatusCode::OK;
    assert!(opens(&cookie).await);
    let (ends, rest) = cookie.strip_prefix("textslash_admin=").unwrap().split_once('.').unwrap();
    let later = ends.parse::<u64>().unwrap() + 1;
    assert!(!opens(&format!("textslash_admin={later}.{rest}")).await, "its end is a part of what is proved");
    let (name, proof) = rest.split_once('.').unwrap();
    for bad in [format!("{ends}.ffffffff.{proof}"), format!("{ends}.{name}."), String::new(), "..".into(), "x".into()] {
        assert!(!opens(&format!("textslash_admin={bad}")).await, "{bad}");
    }
    let token = control.app.config.admin_token.as_ref().unwrap();
    let held = cookie.strip_prefix("textslash_admin=").unwrap();
    let at =
        |late: u64| session::session(&control.app, token, held, Timestamp(ends.parse::<u64>().unwrap() + late - 1));
    assert!(at(0).is_some() && at(1).is_none(), "over at the very instant");
    let other = Control::new(&[("ADMIN_TOKEN", "another-sesame-another-sesame-another")]);
    assert_eq!(
        other.get_with("/admin", &cookie).await.status,
        StatusCode::UNAUTHORIZED,
        "another token ends all sessions"
    );
    let secure = Control::new(&[("ADMIN_TOKEN", TOKEN), ("PUBLIC_URL", "https://relay.example.com")]);
    let set = secure.sign_in(TOKEN, HERE).await;
    assert!(set.headers[header::SET_COOKIE].to_str().unwrap().contains("; Secure"));
}

#[tokio::test]
async fn a_tool_gives_the_token_with_each_request() {
    let control = Control::with_token();
    control.starting("c0ffee0", "0001", "x").await;
    let with = |request: Builder, token: &str| {
        let request = request.header("authorization", format!("Bearer {token}"));
        control.ask(request, HERE, String::new())
    };
    assert_eq!(with(Request::get("/admin"), TOKEN).await.status, StatusCode::OK);
    let wrong = with(Request::get("/admin"), "nonsense").await;
    assert_eq!(
        (wrong.status, wrong.headers[header::WWW_AUTHENTICATE].to_str().unwrap()),
        (StatusCode::UNAUTHORIZED, "Bearer")
    );
    let cancelled = with(Request::post(ORDERS[0]), TOKEN).await;
    assert_eq!(cancelled.status, StatusCode::SEE_OTHER, "{}", cancelled.text);
    assert_eq!(control.waiting("c0ffee0").await, 1);
    let run = format!("/runs/{}", Conversation::new(ConversationId::parse("c0ffee0").unwrap()).run_id(1));
    assert_eq!(with(Request::get(&run), TOKEN).await.status, StatusCode::OK, "a run's log");
    assert_eq!(with(Request::get(&run), "nonsense").await.status, StatusCode::NOT_FOUND);
    assert_eq!(control.get(&run).await.status, StatusCode::NOT_FOUND);
    assert_eq!(Control::new(&[]).get(&run).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn only_a_form_of_this_very_session_does_anything() {
    let control = Control::with_token();
    control.starting("c0ffee0", "0001", "x").await;
    let (one, two) = (control.sign_in(TOKEN, HERE).await, control.sign_in(TOKEN, HERE).await);
    let key = control.get_with(PAGES[2], one.cookie()).await.key().to_owned();
    let foreign = control.get_with(PAGES[2], two.cookie()).await.key().to_owned();
    assert_ne!(key, foreign);
    let post = async |key: &str, more: &[(&'static str, &'static str)]| {
        let request = Request::post(ORDERS[0]).header("cookie", one.cookie()).header("host", "relay.example");
        let request = more.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        control.ask(request, HERE, form(&[("key", key), ("order", "0a1b")])).await.status
    };
    for bad in ["", "x", &foreign] {
        assert_eq!(post(bad, &[]).await, StatusCode::FORBIDDEN, "{bad}");
    }
    for elsewhere in
        [("sec-fetch-site", "cross-site"), ("sec-fetch-site", "same-site"), ("origin", "https://evil.example")]
    {
        assert_eq!(post(&key, &[elsewhere]).await, StatusCode::FORBIDDEN, "{elsewhere:?}");
    }
    assert_eq!(control.waiting("c0ffee0").await, 0);
    assert_eq!(post(&key, &[("sec-fetch-site", "same-origin")]).await, StatusCode::SEE_OTHER);
    assert_eq!(post(&key, &[("origin", "null")]).await, StatusCode::SEE_OTHER, "the form that is sent twice");
    assert_eq!(control.waiting("c0ffee0").await, 1, "is one order");
    let signed_out = Request::post("/admin/sign-out").header("cookie", one.cookie());
    let signed_out = control.ask(signed_out, HERE, form(&[("key", &key)])).await;
    assert!(signed_out.headers[header::SET_COOKIE].to_str().unwrap().contains("Max-Age=0"));
}

/// As many as come at once are weighed one after the other.
#[tokio::test]
async fn a_burst_of_guesses_gets_no_further_than_as_many_in_a_row() {
    let control = Control::with_token();
    control.app.stopping.cancel();
    let mut guesses: Vec<String> = (0..100).map(|number| format!("guess {number}")).collect();
    guesses.push(TOKEN.to_owned());
    let answers = futures::future::join_all(guesses.iter().map(|guess| control.sign_in(guess, HERE))).await;
    let with = |status| answers.iter().filter(|answer| answer.status == status).count();
    assert!(with(StatusCode::UNAUTHORIZED) < 10, "{}", with(StatusCode::UNAUTHORIZED));
    assert_eq!(with(StatusCode::SEE_OTHER), 0, "the right one comes too late, too");
    assert_eq!(control.sign_in(TOKEN, "127.0.0.2:50000").await.status, StatusCode::SEE_OTHER, "but not from elsewhere");
}

#[tokio::test]
async fn the_right_token_costs_nothing_however_often_it_is_given_at_once() {
    let control = Control::with_token();
    let answers = futures::future::join_all((0..100).map(|_| control.sign_in(TOKEN, HERE))).await;
    assert!(answers.iter().all(|answer| answer.status == StatusCode::SEE_OTHER));
}

#[tokio::test]
async fn guesses_at_the_token_of_the_console_are_slowed_alike() {
    let control = Control::new(&[("CONSOLE_TOKEN", TOKEN)]);
    control.app.stopping.cancel();
    let give = |token: &'static str, from: &'static str| {
        let request = Request::post("/console/session").header("content-type", "application/x-www-form-urlencoded");
        control.ask(request, from, form(&[("token", token)]))
    };
    let answers = futures::future::join_all((0..100).map(|_| give("wrong", HERE))).await;
    let wrong: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::UNAUTHORIZED).collect();
    assert!(!wrong.is_empty() && wrong.len() < 10, "{}", wrong.len());
    assert!(wrong.iter().all(|answer| answer.text.contains("That is not the token.")));
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == StatusCode::TOO_MANY_REQUESTS).collect();
    assert_eq!(wrong.len() + refused.len(), 100);
    assert!(refused[0].text.contains("Too many wrong tokens") && refused[0].headers.contains_key(header::RETRY_AFTER));
    assert_eq!(give(TOKEN, HERE).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(give(TOKEN, "127.0.0.2:50000").await.status, StatusCode::SEE_OTHER);
}
