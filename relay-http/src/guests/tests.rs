use futures::future::join_all;
use relay_core::store::sqlite::SqliteStore;

use super::*;
use crate::links::LinkKey;

struct House {
    store: SqliteStore,
    secret: SecretString,
    links: Links,
}

impl House {
    fn new() -> Self {
        let secret: SecretString = "0123456789abcdef0123456789abcdef".into();
        Self { store: SqliteStore::in_memory().unwrap(), links: Links::new(vec![LinkKey::derived(&secret)]), secret }
    }

    async fn invite(&self, name: &str) -> Result<Invited, Full> {
        let signed = invite(&self.store, &self.secret, &self.links, &named(name)).await.unwrap()?;
        Ok(Invited::of_link(&self.links, &signed).unwrap())
    }

    async fn accept(&self, invited: &Invited) -> Standing {
        accept(&self.store, &self.secret, invited, clock::nonce().as_str()).await.unwrap()
    }

    async fn standing(&self, invited: &Invited) -> Standing {
        standing(&self.store, &self.secret, invited).await.unwrap()
    }
}

fn named(name: &str) -> GuestName {
    GuestName::parse(name).unwrap()
}

#[tokio::test]
async fn an_invitation_is_accepted_once_whoever_asks_at_the_same_moment() {
    let house = House::new();
    let invited = house.invite("anna").await.unwrap();
    assert_eq!(house.standing(&invited).await, Standing::Open);
    let accepted = join_all((0..8).map(|_| house.accept(&invited))).await;
    assert_eq!(accepted.iter().filter(|before| **before == Standing::Open).count(), 1, "{accepted:?}");
    assert_eq!(house.standing(&invited).await, Standing::Accepted);
    let guest = guest(&house.store, &house.secret, &named("anna")).await.unwrap();
    assert!(guest.accepted_at.is_some() && guest.is_welcome(clock::now()));
    assert!(!guest.is_welcome(clock::now() + STAY + Duration::from_secs(1)), "nobody stays for ever");
}

#[tokio::test]
async fn who_presses_again_because_the_answer_was_lost_is_let_in_and_nobody_else() {
    let house = House::new();
    let invited = house.invite("anna").await.unwrap();
    let page = |form: &str| invited.page(&house.links, form).unwrap();
    let (one, other) = (page(&invited.form(&house.links)), page(&invited.form(&house.links)));
    let accept = async |page: &str| accept(&house.store, &house.secret, &invited, page).await.unwrap();
    assert_eq!((accept(&one).await, accept(&one).await), (Standing::Open, Standing::Open));
    assert_eq!(accept(&other).await, Standing::Accepted);
    let foreign = house.invite("bo").await.unwrap().form(&house.links);
    assert_eq!(invited.page(&house.links, &foreign), None, "of another invitation");
    assert!(may_look(&house.store, &house.secret, Some(&Person::Guest(named("anna")).address(2))).await.unwrap());
    leave(&house.store, &house.secret, &invited).await.unwrap();
    assert_eq!(house.standing(&invited).await, Standing::Ended);
    assert!(!may_look(&house.store, &house.secret, Some(&Person::Guest(named("anna")).address(2))).await.unwrap());
    assert!(may_look(&house.store, &house.secret, Some(&Person::Owner.address(1))).await.unwrap());
}

#[tokio::test]
async fn whoever_is_uninvited_has_to_be_invited_anew() {
    let house = House::new();
    let (first, second, other) =
        (house.invite("anna").await.unwrap(), house.invite("anna").await.unwrap(), house.invite("bo").await.unwrap());
    house.accept(&first).await;
    for _ in 0..2 {
        assert!(uninvite(&house.store, &house.secret, &first.name).await.unwrap());
    }
    for gone in [&first, &second] {
        assert_eq!((house.standing(gone).await, house.accept(gone).await), (Standing::Ended, Standing::Ended));
    }
    assert_eq!(house.standing(&other).await, Standing::Open, "another guest's");
    let again = house.invite("anna").await.unwrap();
    assert_eq!((house.accept(&again).await, house.standing(&first).await), (Standing::Open, Standing::Ended));
    assert!(!uninvite(&house.store, &house.secret, &named("nobody")).await.unwrap());
}

#[tokio::test]
async fn a_link_is_no_cookie_and_a_cookie_no_link() {
    let house = House::new();
    let invited = house.invite("anna").await.unwrap();
    let link = house.links.sign(Purpose::Invitation, &invited.subject(), clock::now() + OPEN_FOR);
    let cookie = invited.cookie(&house.links);
    assert_eq!(Invited::of_cookie(&house.links, &cookie), Ok(invited.clone()));
    assert_eq!(Invited::of_cookie(&house.links, &link), Err(LinkError::Mismatch));
    assert_eq!(Invited::of_link(&house.links, &cookie), Err(LinkError::Mismatch));
    let old = house.links.sign(Purpose::Invitation, &invited.subject(), clock::now());
    assert_eq!(Invited::of_link(&house.links, &old), Err(LinkError::Expired));
    let foreign = Invited { id: "another".to_owned(), ..invited };
    assert_eq!(house.accept(&foreign).await, Standing::Ended, "nobody was invited by it");
}

#[tokio::test]
async fn there_is_an_end_to_guests_and_to_the_invitations_of_one() {
    let house = House::new();
    for _ in 0..INVITATIONS_MAX {
        house.invite("anna").await.unwrap();
    }
    assert_eq!(house.invite("anna").await, Err(Full::Invitations));
    uninvite(&house.store, &house.secret, &named("anna")).await.unwrap();
    assert!(house.invite("anna").await.is_ok());
    for number in 1..GUESTS_MAX {
        house.invite(&format!("guest-{number}")).await.unwrap();
    }
    assert_eq!(house.invite("one-more").await, Err(Full::Guests));
    assert!(house.invite("guest-7").await.is_ok(), "of those who are there any");
    assert!(strike(&house.store, &named("guest-7")).await.unwrap());
    assert!(house.invite("one-more").await.is_ok());
}
