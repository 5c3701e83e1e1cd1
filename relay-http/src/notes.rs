//! Notes of the store that several relays, and an operator beside them, change: no one of them undoes what another did.

use relay_core::store::{Store, StoreError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Nobody is so unlucky by chance.
const TRIES_MAX: usize = 50;

/// What is kept under `name`, or what there is before anything is.
pub async fn read<T: DeserializeOwned + Default>(store: &dyn Store, name: &str) -> Result<T, StoreError> {
    parse(store.note(name).await?.as_deref())
}

/// Change what is kept under `name`. `change` is called again with what another has made of it in the meantime.
pub async fn change<T: Serialize + DeserializeOwned + Default, R>(
    store: &dyn Store,
    name: &str,
    mut change: impl FnMut(&mut T) -> R,
) -> Result<R, StoreError> {
    for _ in 0..TRIES_MAX {
        let known = store.note(name).await?;
        let mut value = parse(known.as_deref())?;
        let told = change(&mut value);
        let text = serde_json::to_string(&value).expect("plain data with text keys");
        if known.as_ref() == Some(&text) || store.swap_note(name, known.as_deref(), &text).await? {
            return Ok(told);
        }
    }
    Err(StoreError::Unavailable("a note is being changed by too many at once".into()))
}

fn parse<T: DeserializeOwned + Default>(text: Option<&str>) -> Result<T, StoreError> {
    text.map_or(Ok(T::default()), |text| {
        serde_json::from_str(text).map_err(|error| StoreError::Unreadable(error.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use relay_core::store::sqlite::SqliteStore;

    use super::*;

    #[tokio::test]
    async fn what_another_kept_in_the_meantime_is_not_undone() {
        let store = SqliteStore::in_memory().unwrap();
        let mut seen = Vec::new();
        // Another relay's change is carried out while this one is being thought about.
        for number in 1..=2 {
            let other = store.note("n").await.unwrap();
            change(&store, "n", |list: &mut Vec<u8>| {
                seen.push(list.len());
                list.push(number);
            })
            .await
            .unwrap();
            assert!(!store.swap_note("n", other.as_deref(), "[9]").await.unwrap(), "what is known is old by then");
        }
        assert_eq!((read::<Vec<u8>>(&store, "n").await.unwrap(), seen), (vec![1, 2], vec![0, 1]));
    }

    #[tokio::test]
    async fn what_can_not_be_read_is_left_as_it_is() {
        let store = SqliteStore::in_memory().unwrap();
        store.set_note("n", "{").await.unwrap();
        let changed = change(&store, "n", |list: &mut Vec<u8>| list.push(1)).await;
        assert!(matches!(changed, Err(StoreError::Unreadable(_))), "{changed:?}");
        assert_eq!(store.note("n").await.unwrap().as_deref(), Some("{"));
    }
}
