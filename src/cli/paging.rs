//! How is a list read that comes in pages?

use std::num::NonZeroUsize;

use clap::Args;

use super::Error;

/// The most that the server puts on one page.
const PAGE: usize = 200;

/// How much of a list to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Args)]
pub(super) struct LimitArgs {
    /// Stop after that many; without it everything is shown
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<NonZeroUsize>,
}

/// What to ask for next.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PageRequest {
    pub(super) page_size: i32,
    pub(super) page_token: String,
}

/// Asks for page after page, of the most that the server puts on one, until there
/// is no other. `fetch` gives the token of the next page, empty at the end.
pub(super) async fn each(mut fetch: impl AsyncFnMut(PageRequest) -> Result<String, Error>) -> Result<(), Error> {
    let mut page_token = String::new();
    loop {
        let page_size = i32::try_from(PAGE).expect("a page is small");
        let next = fetch(PageRequest { page_size, page_token: page_token.clone() }).await?;
        if next.is_empty() {
            return Ok(());
        }
        // Otherwise a server that turns in circles would fill this machine.
        if next == page_token {
            return Err(Error::Reply("a page names itself as the next one"));
        }
        page_token = next;
    }
}

/// Asks for page after page until there is no other, or enough is there.
///
/// `fetch` gives a page's items and the token of the next page, empty at the end.
pub(super) async fn collect<T>(
    LimitArgs { limit }: LimitArgs,
    mut fetch: impl AsyncFnMut(PageRequest) -> Result<(Vec<T>, String), Error>,
) -> Result<Vec<T>, Error> {
    let limit = limit.map_or(usize::MAX, NonZeroUsize::get);
    let mut items = Vec::new();
    each(async |page| {
        let page_size = i32::try_from(PAGE.min(limit - items.len())).expect("a page is small");
        let (more, next) = fetch(PageRequest { page_size, ..page }).await?;
        items.extend(more);
        Ok(if items.len() < limit { next } else { String::new() })
    })
    .await?;
    items.truncate(limit);
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A list of numbers, `per_page` on a page however many are asked for.
    async fn read(count: usize, per_page: usize, limit: Option<usize>) -> (Vec<usize>, Vec<i32>) {
        let limit = LimitArgs { limit: limit.map(|limit| NonZeroUsize::new(limit).expect("not zero")) };
        let mut asked = Vec::new();
        let items = collect(limit, async |request| {
            asked.push(request.page_size);
            let start = request.page_token.parse().unwrap_or(0);
            let end = count.min(start + per_page);
            let next = if end == count { String::new() } else { end.to_string() };
            Ok(((start..end).collect(), next))
        })
        .await
        .expect("the list is read");
        (items, asked)
    }

    #[tokio::test]
    async fn pages_are_followed_to_the_end() {
        let (items, asked) = read(5, 2, None).await;
        assert_eq!(items, [0, 1, 2, 3, 4]);
        assert_eq!(asked, [200, 200, 200]);
        assert!(read(0, 2, None).await.0.is_empty());
    }

    #[tokio::test]
    async fn no_more_is_asked_for_than_is_wanted() {
        let (items, asked) = read(1000, 200, Some(250)).await;
        assert_eq!(items.len(), 250);
        assert_eq!(asked, [200, 50]);
        assert_eq!(read(1000, 200, Some(1)).await.1, [1]);
    }

    #[tokio::test]
    async fn a_server_that_turns_in_circles_is_left() {
        let result = collect(LimitArgs::default(), async |_| Ok((vec![1], "again".to_owned()))).await;
        assert!(matches!(result, Err(Error::Reply(_))), "{result:?}");
    }
}
